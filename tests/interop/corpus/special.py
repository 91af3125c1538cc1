"""Models whose inputs or nested settings need more than a row of a table."""

import torch
from exporting import Example
from families import BART, T5, VIT, TEXT


def image(size=32, batch=2, channels=3):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def token_ids(length=9, batch=2, vocabulary=300, seed=3):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (batch, length), generator=generator)
    ids[:, -1] = 2  # an end of text, which some models look for
    mask = torch.ones_like(ids)
    mask[1:, -2:] = 0
    return ids, mask


_CLIP_TEXT = dict(TEXT)


def _dual(kind, model="AutoModel", text=None, vision=None, **more):
    def build():
        import transformers

        config = transformers.AutoConfig.for_model(
            kind,
            text_config=dict(_CLIP_TEXT, projection_dim=32, **(text or {})),
            vision_config=dict(VIT, projection_dim=32, **(vision or {})),
            projection_dim=32,
            **more,
        )
        ids, mask = token_ids()
        inputs = dict(input_ids=ids, attention_mask=mask, pixel_values=image())
        return Example(
            (
                getattr(transformers, model).from_config(config)
                if model.startswith("Auto")
                else getattr(transformers, model)(config)
            ),
            inputs,
        )

    return build


def clip_text():
    import transformers

    config = transformers.CLIPTextConfig(**TEXT, projection_dim=32)
    ids, mask = token_ids()
    return Example(
        transformers.CLIPTextModelWithProjection(config), dict(input_ids=ids, attention_mask=mask)
    )


def siglip_text():
    import transformers

    config = transformers.SiglipTextConfig(**TEXT, projection_size=32)
    ids, _ = token_ids()
    return Example(transformers.SiglipTextModel(config), dict(input_ids=ids))


def siglip2_vision():
    import transformers

    config = transformers.Siglip2VisionConfig(**VIT, num_patches=16)
    inputs = dict(
        pixel_values=noise(2, 16, 192),
        pixel_attention_mask=torch.ones(2, 16, dtype=torch.int64),
        spatial_shapes=torch.tensor([[4, 4], [4, 4]]),
    )
    return Example(transformers.Siglip2VisionModel(config), inputs)


def blip_caption():
    import transformers

    config = transformers.BlipConfig(
        text_config=dict(TEXT, encoder_hidden_size=64, is_decoder=True),
        vision_config=dict(VIT),
        projection_dim=32,
    )
    ids, mask = token_ids()
    return Example(
        transformers.BlipForConditionalGeneration(config),
        dict(pixel_values=image(), input_ids=ids, attention_mask=mask),
        outputs=("logits",),
    )


def vilt():
    import transformers

    config = transformers.ViltConfig(**{**TEXT, **VIT})
    ids, mask = token_ids()
    inputs = dict(
        input_ids=ids,
        attention_mask=mask,
        token_type_ids=torch.zeros_like(ids),
        pixel_values=image(),
        pixel_mask=torch.ones(2, 32, 32, dtype=torch.int64),
    )
    return Example(transformers.ViltForQuestionAnswering(config), inputs)


def _detr(kind, **settings):
    def build():
        import transformers

        backbone = transformers.ResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 24, 32, 48],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=settings.pop("_stages", ["stage4"]),
        )
        config = transformers.AutoConfig.for_model(
            kind,
            backbone_config=backbone,
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            **{**BART, "num_queries": 6, "num_labels": 5, "d_model": 64, **settings},
        )
        model = transformers.AutoModelForObjectDetection.from_config(config)
        inputs = dict(pixel_values=image(64), pixel_mask=torch.ones(2, 64, 64, dtype=torch.int64))
        return Example(model, inputs, outputs=("logits", "pred_boxes"))

    return build


def rt_detr():
    import transformers

    config = transformers.RTDetrConfig(
        backbone_config=transformers.RTDetrResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 24, 32, 48],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        ),
        encoder_hidden_dim=32,
        encoder_in_channels=[24, 32, 48],
        encoder_ffn_dim=64,
        encoder_attention_heads=4,
        d_model=32,
        num_queries=6,
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=64,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_n_points=2,
        anchor_image_size=None,
        num_denoising=0,
        hidden_expansion=0.5,
    )
    return Example(
        transformers.RTDetrForObjectDetection(config),
        dict(pixel_values=image(64)),
        outputs=("logits", "pred_boxes"),
    )


def whisper(part):
    def build():
        import transformers

        config = transformers.WhisperConfig(
            **{**TEXT, **BART},
            num_mel_bins=16,
            max_source_positions=16,
            max_target_positions=32,
            begin_suppress_tokens=None,
        )
        model = transformers.WhisperForConditionalGeneration(config)
        features = noise(2, 16, 32)
        if part == "encoder":
            return Example(model.model.encoder, dict(input_features=features))
        ids, _ = token_ids(6)
        return Example(
            model,
            dict(input_features=features, decoder_input_ids=ids),
            outputs=("logits",),
            call=dict(use_cache=False),
        )

    return build


def speech_to_text():
    import transformers

    config = transformers.Speech2TextConfig(
        **{**TEXT, **BART},
        input_feat_per_channel=16,
        conv_channels=32,
        max_source_positions=64,
        max_target_positions=32,
    )
    ids, _ = token_ids(6)
    mask = torch.ones(2, 32, dtype=torch.int64)
    mask[1, 24:] = 0
    inputs = dict(input_features=noise(2, 32, 16), attention_mask=mask, decoder_input_ids=ids)
    model = transformers.Speech2TextForConditionalGeneration(config)
    return Example(model, inputs, outputs=("logits",), call=dict(use_cache=False))


def trocr():
    import transformers

    config = transformers.VisionEncoderDecoderConfig(
        encoder=transformers.ViTConfig(**VIT).to_dict(),
        decoder=transformers.TrOCRConfig(
            **TEXT,
            d_model=64,
            decoder_layers=2,
            decoder_attention_heads=4,
            decoder_ffn_dim=128,
            cross_attention_hidden_size=64,
        ).to_dict(),
    )
    ids, _ = token_ids(6)
    return Example(
        transformers.VisionEncoderDecoderModel(config=config),
        dict(pixel_values=image(), decoder_input_ids=ids),
        outputs=("logits",),
        call=dict(use_cache=False),
    )


def t5_decoder_with_past():
    """A decoder step: self-attention cache and encoder states as inputs."""
    import transformers

    config = transformers.T5Config(**{**TEXT, **T5})
    model = transformers.T5ForConditionalGeneration(config)
    ids, _ = token_ids(6)
    _, mask = token_ids(9)

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, decoder_input_ids, encoder_hidden_states, encoder_attention_mask):
            found = self.inner.decoder(
                input_ids=decoder_input_ids,
                encoder_hidden_states=encoder_hidden_states,
                encoder_attention_mask=encoder_attention_mask,
                use_cache=True,
            )
            return dict(
                logits=self.inner.lm_head(found.last_hidden_state),
                past_key_values=found.past_key_values,
            )

    inputs = dict(
        decoder_input_ids=ids, encoder_hidden_states=noise(2, 9, 64), encoder_attention_mask=mask
    )
    return Example(Step(), inputs)


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


SPECIAL = {
    "clip": _dual("clip"),
    "clip-text": clip_text,
    "siglip": _dual("siglip"),
    "siglip-text": siglip_text,
    "siglip2-vision": siglip2_vision,
    "chinese_clip": _dual("chinese_clip"),
    "altclip": _dual("altclip", text=dict(project_dim=32)),
    "groupvit": _dual(
        "groupvit",
        projection_intermediate_dim=64,
        vision=dict(depths=[1, 1, 1], num_group_tokens=[4, 2, 0], num_output_groups=[4, 2, 0]),
    ),
    "clipseg": _dual(
        "clipseg",
        "CLIPSegForImageSegmentation",
        extract_layers=[0, 1],
        reduce_dim=16,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=32,
        conditional_layer=0,
    ),
    "blip": _dual("blip", text=dict(encoder_hidden_size=64)),
    "blip-caption": blip_caption,
    "bridgetower-vilt": vilt,
    "owlvit": _dual("owlvit", "OwlViTModel"),
    "metaclip_2": _dual("metaclip_2"),
    "detr": _detr("detr"),
    "table-transformer": _detr("table-transformer"),
    "conditional_detr": _detr("conditional_detr"),
    "deformable_detr": _detr(
        "deformable_detr",
        num_feature_levels=2,
        _stages=["stage3", "stage4"],
        encoder_n_points=2,
        decoder_n_points=2,
    ),
    "dab-detr": _detr("dab-detr", hidden_size=64, num_feature_levels=1),
    "rt_detr": rt_detr,
    "whisper": whisper("all"),
    "whisper-encoder": whisper("encoder"),
    "speech_to_text": speech_to_text,
    "trocr-vision": trocr,
    "t5-decoder-cache": t5_decoder_with_past,
    "patchtst": _series("patchtst", "PatchTSTForPrediction", _patches, **_PATCH),
    "patchtsmixer": _series(
        "patchtsmixer",
        "PatchTSMixerForPrediction",
        _patches,
        **_PATCH,
        num_layers=2,
        mode="mix_channel",
        gated_attn=True,
        self_attn=True,
        self_attn_heads=4,
    ),
    "autoformer": _series(
        "autoformer",
        "AutoformerForPrediction",
        _probabilistic(),
        **_PROBABILISTIC,
        moving_average=5,
        autocorrelation_factor=1,
    ),
    "informer": _series(
        "informer",
        "InformerForPrediction",
        _probabilistic(),
        **_PROBABILISTIC,
        attention_type="prob",
    ),
    "time_series_transformer": _series(
        "time_series_transformer",
        "TimeSeriesTransformerForPrediction",
        _probabilistic(),
        **_PROBABILISTIC,
    ),
    "timesfm": _series(
        "timesfm",
        "TimesFmModel",
        lambda: dict(
            past_values=noise(2, 64),
            past_values_padding=torch.zeros(2, 64),
            freq=torch.zeros(2, 1, dtype=torch.int32),
        ),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=16,
        intermediate_size=128,
        patch_length=8,
        context_length=64,
        horizon_length=16,
    ),
    "clap-audio": clap_audio,
    "llava-text": llava_text,
    "paligemma": paligemma,
    "llava": llava,
    "unet": unet,
    "dit": dit,
    "sd3": sd3,
    "flux": flux,
    "vae": vae,
    "torch-transformer": torch_transformer,
    "torch-recurrent": torch_recurrent,
    "timm-vit": _timm("vit_tiny_patch16_224", **_TIMM),
    "timm-deit3": _timm("deit3_small_patch16_224", **_TIMM),
    "timm-cait": _timm("cait_xxs24_224", **_TIMM),
    "timm-eva": _timm("eva02_tiny_patch14_224", **_TIMM),
    "timm-mixer": _timm("mixer_s16_224", img_size=32, patch_size=8, embed_dim=64, num_blocks=2),
    "timm-resmlp": _timm("resmlp_12_224", img_size=32, patch_size=8, embed_dim=64, num_blocks=2),
    "timm-gmlp": _timm("gmlp_s16_224", img_size=32, patch_size=8, embed_dim=64, num_blocks=2),
    "timm-xcit": _timm("xcit_nano_12_p8_224", img_size=32, embed_dim=64, depth=2, num_heads=4),
    "timm-pit": _timm(
        "pit_ti_224",
        img_size=32,
        patch_size=8,
        stride=4,
        base_dims=[16, 16],
        depth=[1, 1],
        heads=[2, 4],
    ),
    "timm-twins": _timm(
        "twins_svt_small",
        img_size=64,
        embed_dims=(32, 48, 64, 64),
        num_heads=(2, 3, 4, 4),
        depths=(1, 1, 1, 1),
        wss=(2, 2, 2, 2),
        _size=64,
    ),
    "timm-coat": _timm(
        "coat_lite_tiny",
        img_size=64,
        embed_dims=(32, 32, 48, 64),
        serial_depths=(1, 1, 1, 1),
        num_heads=4,
        _size=64,
    ),
    "timm-maxvit": _timm("maxvit_rmlp_pico_rw_256", img_size=64, _size=64),
    "timm-davit": _timm(
        "davit_tiny",
        img_size=64,
        depths=(1, 1),
        embed_dims=(32, 64),
        num_heads=(2, 4),
        window_size=4,
        _size=64,
    ),
    "timm-edgenext": _timm("edgenext_xx_small", _size=64),
    "timm-volo": _timm(
        "volo_d1_224",
        img_size=64,
        embed_dims=(32, 64, 64, 64),
        layers=(1, 1, 1, 1),
        num_heads=(2, 4, 4, 4),
        _size=64,
    ),
    "timm-crossvit": _timm("crossvit_tiny_240", img_size=240, _size=240),
    "timm-nest": _timm(
        "nest_tiny",
        img_size=32,
        patch_size=4,
        num_levels=2,
        embed_dims=(32, 64),
        num_heads=(2, 4),
        depths=(1, 1),
    ),
    "timm-beitv2": _timm("beitv2_base_patch16_224", **_TIMM),
    "timm-rope": _timm("vit_small_patch16_rope_224", **_TIMM),
    "timm-convformer": _timm(
        "convformer_s18", depths=(1, 1, 1, 1), dims=(16, 32, 48, 64), _size=64
    ),
    "timm-tinyvit": _timm(
        "tiny_vit_5m_224",
        img_size=64,
        embed_dims=(32, 32, 48, 64),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 3, 4),
        window_sizes=(4, 4, 4, 2),
        _size=64,
    ),
    "timm-efficientvit": _timm("efficientvit_m0", img_size=64, _size=64),
    "timm-repvit": _timm("repvit_m1", _size=64),
    "timm-fastvit": _timm("fastvit_t8", _size=64),
    "timm-mvitv2": _timm("mvitv2_tiny", img_size=64, _size=64),
    "timm-sequencer": _timm(
        "sequencer2d_s",
        layers=(1, 1, 1, 1),
        embed_dims=(32, 32, 32, 32),
        hidden_sizes=(8, 16, 16, 16),
        _size=64,
    ),
}
