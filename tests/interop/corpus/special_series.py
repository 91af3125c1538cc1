"""Builders of models of time series, of diffusion, of timm and of plain PyTorch."""

import torch
from exporting import Example
from families import TEXT
from families_vision import VIT
from inputs import image, noise, token_ids


def _series(kind, model, inputs, **settings):
    def build():
        import transformers

        config = transformers.AutoConfig.for_model(kind, **settings)
        return Example(getattr(transformers, model)(config), inputs())

    return build


def _patches():
    return dict(past_values=noise(2, 32, 3))


def _probabilistic(length=24, lags=7):
    def inputs():
        return dict(
            past_values=noise(2, length + lags),
            past_time_features=noise(2, length + lags, 2),
            past_observed_mask=torch.ones(2, length + lags),
            future_values=noise(2, 8),
            future_time_features=noise(2, 8, 2),
        )

    return inputs


_PATCH = dict(
    context_length=32,
    prediction_length=8,
    patch_length=8,
    patch_stride=8,
    num_input_channels=3,
    d_model=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    ffn_dim=128,
)
_PROBABILISTIC = dict(
    prediction_length=8,
    context_length=24,
    lags_sequence=[1, 2, 3, 7],
    num_time_features=2,
    d_model=64,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=128,
    decoder_ffn_dim=128,
)


def clap_audio():
    import transformers

    config = transformers.ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        patch_size=4,
        patch_stride=[4, 4],
        patch_embeds_hidden_size=32,
        depths=[1, 1],
        num_attention_heads=[2, 4],
        hidden_size=64,
        projection_dim=32,
    )
    return Example(
        transformers.ClapAudioModelWithProjection(config),
        dict(input_features=noise(2, 1, 256, 16)),
    )


def llava_text():
    """A decoder fed with embeddings, as the language part of a multimodal model is."""
    import transformers

    config = transformers.LlamaConfig(**TEXT, num_key_value_heads=2)
    _, mask = token_ids()
    model = transformers.LlamaForCausalLM(config)
    return Example(
        model,
        dict(inputs_embeds=noise(2, 9, 64), attention_mask=mask),
        call=dict(use_cache=False),
    )


def paligemma():
    import transformers

    config = transformers.PaliGemmaConfig(
        text_config=dict(
            model_type="gemma",
            **{**TEXT},
            num_key_value_heads=2,
            head_dim=16,
        ),
        vision_config=dict(model_type="siglip_vision_model", **VIT, vision_use_head=False),
        image_token_index=310,
        projection_dim=64,
    )
    ids, mask = token_ids(24)
    ids[:, :16] = 310
    return Example(
        transformers.PaliGemmaForConditionalGeneration(config),
        dict(input_ids=ids, attention_mask=mask, pixel_values=image()),
        call=dict(use_cache=False),
        outputs=("logits",),
    )


def llava():
    import transformers

    config = transformers.LlavaConfig(
        text_config=dict(model_type="llama", **TEXT, num_key_value_heads=2),
        vision_config=dict(model_type="clip_vision_model", **VIT),
        image_token_index=310,
        vision_feature_layer=-1,
    )
    ids, mask = token_ids(24)
    ids[:, :16] = 310
    return Example(
        transformers.LlavaForConditionalGeneration(config),
        dict(input_ids=ids, attention_mask=mask, pixel_values=image()),
        call=dict(use_cache=False),
        outputs=("logits",),
    )


def unet():
    import diffusers

    model = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    inputs = dict(
        sample=noise(2, 4, 8, 8),
        timestep=torch.tensor(7),
        encoder_hidden_states=noise(2, 5, 32),
    )
    axes = {"sample": {0: "batch"}, "encoder_hidden_states": {0: "batch", 1: "words"}}
    return Example(model, inputs, axes=axes)


def dit():
    import diffusers

    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=16,
        norm_num_groups=4,
    )
    inputs = dict(
        hidden_states=noise(2, 4, 8, 8),
        timestep=torch.tensor([3, 7]),
        class_labels=torch.tensor([1, 2]),
    )
    return Example(model, inputs)


def sd3():
    import diffusers

    model = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=64,
        pooled_projection_dim=24,
        out_channels=4,
        pos_embed_max_size=8,
    )
    inputs = dict(
        hidden_states=noise(2, 4, 8, 8),
        encoder_hidden_states=noise(2, 5, 32),
        pooled_projections=noise(2, 24),
        timestep=torch.tensor([3, 7]),
    )
    return Example(model, inputs)


def flux():
    import diffusers

    model = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=32,
        pooled_projection_dim=24,
        axes_dims_rope=(4, 4, 8),
    )
    inputs = dict(
        hidden_states=noise(1, 16, 16),
        encoder_hidden_states=noise(1, 5, 32),
        pooled_projections=noise(1, 24),
        timestep=torch.tensor([0.3]),
        img_ids=torch.cartesian_prod(torch.arange(1.0), torch.arange(4.0), torch.arange(4.0)),
        txt_ids=torch.zeros(5, 3),
    )
    return Example(model, inputs, axes={"hidden_states": {1: "pixels"}, "img_ids": {0: "pixels"}})


def vae():
    import diffusers

    model = diffusers.AutoencoderKL(
        block_out_channels=(16, 32),
        norm_num_groups=8,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )

    class Decode(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, latent):
            return self.inner.decode(latent, return_dict=False)

    return Example(Decode(), dict(latent=noise(2, 4, 8, 8)))


def _timm(name, **settings):
    def build():
        import timm

        size = settings.pop("_size", 32)
        model = timm.create_model(name, pretrained=False, num_classes=10, **settings)
        return Example(model, dict(x=image(size)))

    return build


_TIMM = dict(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4)


def torch_transformer():
    """PyTorch's own encoder and decoder layers, with no library around them."""

    class Translator(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(320, 64)
            self.inner = torch.nn.Transformer(64, 4, 2, 2, 128, batch_first=True)
            self.head = torch.nn.Linear(64, 320)

        def forward(self, source, target):
            found = self.inner(self.embed(source), self.embed(target))
            return dict(logits=self.head(found))

    return Example(Translator(), dict(source=token_ids(9)[0], target=token_ids(6, seed=4)[0]))


def torch_recurrent():
    """An LSTM and a GRU between linears."""

    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(320, 64)
            self.first = torch.nn.LSTM(64, 32, bidirectional=True, batch_first=True)
            self.second = torch.nn.GRU(64, 64, batch_first=True)
            self.head = torch.nn.Linear(64, 320)

        def forward(self, input_ids):
            return dict(logits=self.head(self.second(self.first(self.embed(input_ids))[0])[0]))

    return Example(Tagger(), dict(input_ids=token_ids()[0]))
