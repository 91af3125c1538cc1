"""Tiny audio models; see families.py for what a row means."""

from families_vision import VIT

_WAVE = dict(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    conv_dim=[32, 32],
    conv_stride=[5, 4],
    conv_kernel=[10, 8],
    num_feat_extract_layers=2,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    vocab_size=40,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)

AUDIO = {
    "wav2vec2": dict(**_WAVE, _head="CTC"),
    "wav2vec2-stable": dict(
        _type="wav2vec2",
        **_WAVE,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        _head="AudioClassification"
    ),
    "hubert": dict(**_WAVE, _head="CTC"),
    "wavlm": dict(**_WAVE, num_buckets=16, max_bucket_distance=32, _head="CTC"),
    "unispeech": dict(**_WAVE, _head="CTC"),
    "unispeech-sat": dict(**_WAVE, _head="CTC"),
    "sew": dict(**{**_WAVE, "squeeze_factor": 2}, _head="CTC"),
    "sew-d": dict(
        **_WAVE,
        squeeze_factor=2,
        max_position_embeddings=64,
        position_buckets=8,
        feature_layer_norm_eps=1e-5,
        _head="CTC"
    ),
    "data2vec-audio": dict(
        **_WAVE, num_conv_pos_embeddings_depth=2, conv_pos_kernel_size=3, _head="CTC"
    ),
    "wav2vec2-conformer": dict(**_WAVE, position_embeddings_type="rotary", _head="CTC"),
    "wav2vec2-bert": dict(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        feature_projection_input_dim=16,
        vocab_size=40,
        _head="CTC",
        _features=16,
        _input="input_features",
    ),
    "audio-spectrogram-transformer": dict(
        **{k: v for k, v in VIT.items() if k not in ("image_size", "patch_size")},
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        max_length=32,
        num_mel_bins=16,
        _head="AudioClassification",
        _features=16,
        _frames=32
    ),
    "parakeet_encoder": dict(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        num_mel_bins=16,
        subsampling_conv_channels=16,
        _head="base",
        _features=16,
        _frames=64,
        _input="input_features",
    ),
    "hubert-layer": dict(
        _type="hubert", **_WAVE, feat_extract_norm="layer", do_stable_layer_norm=True, _head="base"
    ),
    "encodec": dict(_skip="convolutions and LSTM"),
    "seamless_m4t": dict(_skip="nested"),
    "lasr_encoder": dict(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        num_mel_bins=16,
        subsampling_conv_channels=16,
        _head="base",
        _features=16,
        _frames=64,
        _input="input_features",
    ),
}
