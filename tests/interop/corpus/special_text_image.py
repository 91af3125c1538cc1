"""Builders of models of text and images, of speech, and of detection."""

import torch
from exporting import Example
from families import BART, T5, TEXT
from families_vision import VIT
from inputs import image, noise, token_ids

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
