"""Tiny decoders; see families.py for what a row means."""

from families import EXPERTS, GROUPED

DECODERS = {
    "gpt2": dict(n_embd=64, n_layer=2, n_head=4, n_positions=64),
    "openai-gpt": dict(n_embd=64, n_layer=2, n_head=4, n_positions=64),
    "gpt_neo": dict(
        num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=4
    ),
    "gpt_neox": dict(rotary_pct=0.25),
    "gpt_neox_japanese": dict(rotary_pct=1.0, intermediate_multiple_size=2),
    "gptj": dict(n_embd=64, n_layer=2, n_head=4, n_positions=64, rotary_dim=8),
    "gpt_bigcode": dict(n_embd=64, n_layer=2, n_head=4, n_positions=64),
    "opt": dict(ffn_dim=128, word_embed_proj_dim=32, do_layer_norm_before=False),
    "bloom": dict(n_layer=2, n_head=4),
    "codegen": dict(n_embd=64, n_layer=2, n_head=4, n_positions=64, n_ctx=64, rotary_dim=8),
    "ctrl": dict(n_embd=64, n_layer=2, n_head=4, n_positions=64, dff=128),
    "xglm": dict(d_model=64, ffn_dim=128, num_layers=2, attention_heads=4),
    "biogpt": dict(),
    "llama": dict(
        **GROUPED,
        rope_parameters=dict(
            rope_type="llama3",
            rope_theta=10000.0,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
        attention_bias=True
    ),
    "llama-linear": dict(
        _type="llama",
        **GROUPED,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0),
        mlp_bias=True
    ),
    "llama-yarn": dict(
        _type="llama",
        **GROUPED,
        rope_parameters=dict(
            rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16
        ),
        tie_word_embeddings=True
    ),
    "llama-dynamic": dict(
        _type="llama",
        **GROUPED,
        rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)
    ),
    "mistral": dict(**GROUPED, sliding_window=4),
    "ministral": dict(**GROUPED, sliding_window=4),
    "mixtral": dict(**GROUPED, **EXPERTS),
    "qwen2": dict(
        **GROUPED,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
        tie_word_embeddings=True
    ),
    "qwen3": dict(**GROUPED),
    "qwen2_moe": dict(**GROUPED, **EXPERTS, shared_expert_intermediate_size=64),
    "qwen3_moe": dict(**GROUPED, **EXPERTS),
    "qwen3_next": dict(
        **GROUPED,
        **EXPERTS,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        shared_expert_intermediate_size=32,
        layer_types=["linear_attention", "full_attention"]
    ),
    "qwen3_5_text": dict(
        **GROUPED,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        layer_types=["linear_attention", "full_attention"]
    ),
    "gemma": dict(**GROUPED),
    "gemma2": dict(**GROUPED, query_pre_attn_scalar=16, sliding_window=4),
    "gemma3_text": dict(
        **GROUPED,
        query_pre_attn_scalar=16,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"]
    ),
    "gemma3n_text": dict(
        **GROUPED,
        vocab_size_per_layer_input=320,
        hidden_size_per_layer_input=16,
        laurel_rank=8,
        num_kv_shared_layers=0,
        altup_num_inputs=2,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=4,
        activation_sparsity_pattern=[0.0, 0.0]
    ),
    "gemma4_text": dict(**GROUPED),
    "phi": dict(partial_rotary_factor=0.5),
    "phi-norm": dict(_type="phi", qk_layernorm=True, num_key_value_heads=2),
    "phi3": dict(**GROUPED),
    "phi3-long": dict(
        _type="phi3",
        num_key_value_heads=2,
        original_max_position_embeddings=16,
        rope_parameters=dict(
            rope_type="longrope",
            rope_theta=10000.0,
            short_factor=[1.0] * 8,
            long_factor=[1.5] * 8,
            original_max_position_embeddings=16,
            factor=4.0,
        ),
    ),
    "phimoe": dict(**GROUPED, **EXPERTS),
    "falcon": dict(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=2),
    "falcon-old": dict(_type="falcon", multi_query=True, parallel_attn=True, bias=True),
    "falcon-alibi": dict(
        _type="falcon", alibi=True, multi_query=False, parallel_attn=False, bias=True
    ),
    "mpt": dict(d_model=64, n_heads=4, n_layers=2, max_seq_len=64, expansion_ratio=2),
    "stablelm": dict(
        num_key_value_heads=2, use_qkv_bias=True, qk_layernorm=True, use_parallel_residual=True
    ),
    "persimmon": dict(qk_layernorm=True),
    "starcoder2": dict(num_key_value_heads=2),
    "olmo": dict(num_key_value_heads=2, clip_qkv=2.0),
    "olmo2": dict(num_key_value_heads=2),
    "olmo3": dict(
        num_key_value_heads=2, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    "olmoe": dict(num_key_value_heads=2, **EXPERTS),
    "flex_olmo": dict(num_key_value_heads=2, **EXPERTS),
    "cohere": dict(num_key_value_heads=2, use_qk_norm=True),
    "cohere2": dict(
        **GROUPED, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    "granite": dict(
        num_key_value_heads=2,
        attention_multiplier=0.25,
        residual_multiplier=0.5,
        embedding_multiplier=2.0,
        logits_scaling=2.0,
    ),
    "granitemoe": dict(num_key_value_heads=2, **EXPERTS),
    "granitemoeshared": dict(num_key_value_heads=2, **EXPERTS, shared_intermediate_size=48),
    "granitemoehybrid": dict(
        num_key_value_heads=2,
        **EXPERTS,
        shared_intermediate_size=48,
        layer_types=["mamba", "attention"],
        mamba_n_heads=8,
        mamba_d_head=16,
        mamba_n_groups=1,
        mamba_d_state=16,
        mamba_chunk_size=8
    ),
    "jamba": dict(
        num_key_value_heads=2,
        **EXPERTS,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=8,
        mamba_dt_rank=8,
        use_mamba_kernels=False
    ),
    "mamba": dict(state_size=8, time_step_rank=8, _cache=False, _mask=False),
    "mamba2": dict(
        num_heads=8, head_dim=16, n_groups=2, state_size=16, chunk_size=8, expand=2, _cache=False
    ),
    "falcon_mamba": dict(state_size=8, time_step_rank=8, _cache=False),
    "rwkv": dict(attention_hidden_size=64, context_length=64, _cache=False, _mask=False),
    "recurrent_gemma": dict(
        num_key_value_heads=1,
        lru_width=64,
        attention_window_size=8,
        block_types=["recurrent", "attention"],
        _cache=False,
    ),
    "falcon_h1": dict(
        num_key_value_heads=2,
        mamba_d_ssm=64,
        mamba_n_heads=4,
        mamba_d_head=16,
        mamba_n_groups=1,
        mamba_d_state=16,
        mamba_chunk_size=8,
        _cache=False,
    ),
    "bamba": dict(
        num_key_value_heads=2,
        attn_layer_indices=[1],
        mamba_n_heads=8,
        mamba_d_head=16,
        mamba_n_groups=1,
        mamba_d_state=16,
        mamba_chunk_size=8,
        _cache=False,
    ),
    "zamba": dict(
        num_key_value_heads=4,
        mamba_d_state=8,
        mamba_dt_rank=8,
        n_mamba_heads=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        use_mamba_kernels=False,
        _cache=False,
    ),
    "zamba2": dict(
        mamba_d_state=16,
        mamba_headdim=16,
        n_mamba_heads=8,
        chunk_size=8,
        num_mem_blocks=1,
        layers_block_type=["mamba", "hybrid"],
        use_mem_rope=True,
        _cache=False,
    ),
    "nemotron_h": dict(
        num_key_value_heads=2,
        _cache=False,
        layers_block_type=["mamba", "attention", "mlp"],
        mamba_num_heads=8,
        mamba_head_dim=16,
        n_groups=1,
        ssm_state_size=16,
        chunk_size=8,
    ),
    "xlstm": dict(num_blocks=2, num_heads=4, chunk_size=8, _cache=False),
    "deepseek_v2": dict(
        q_lora_rank=32,
        kv_lora_rank=24,
        qk_rope_head_dim=8,
        qk_nope_head_dim=16,
        v_head_dim=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        first_k_dense_replace=1,
        n_group=2,
        topk_group=1,
        n_shared_experts=1,
        topk_method="greedy",
    ),
    "deepseek_v3": dict(
        num_key_value_heads=4,
        q_lora_rank=32,
        kv_lora_rank=24,
        qk_rope_head_dim=8,
        qk_nope_head_dim=16,
        v_head_dim=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        first_k_dense_replace=1,
        n_group=2,
        topk_group=1,
        n_shared_experts=1,
    ),
    "longcat_flash": dict(_skip="large"),
    "gpt_oss": dict(
        **GROUPED,
        **EXPERTS,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters=dict(
            rope_type="yarn",
            rope_theta=10000.0,
            factor=4.0,
            original_max_position_embeddings=16,
            beta_fast=32.0,
            beta_slow=1.0,
            truncate=False,
        )
    ),
    "smollm3": dict(num_key_value_heads=2, no_rope_layers=[1, 0]),
    "exaone4": dict(
        num_key_value_heads=2, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    "glm": dict(**GROUPED, attention_bias=True),
    "glm4": dict(**GROUPED),
    "glm4_moe": dict(
        **GROUPED,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        use_qk_norm=True
    ),
    "nemotron": dict(num_key_value_heads=2),
    "dbrx": dict(
        d_model=64,
        n_heads=4,
        n_layers=2,
        max_seq_len=64,
        attn_config=dict(kv_n_heads=2, clip_qkv=8.0),
        ffn_config=dict(ffn_hidden_size=48, moe_num_experts=4, moe_top_k=2),
    ),
    "jetmoe": dict(
        num_key_value_heads=2, kv_channels=16, num_local_experts=4, num_experts_per_tok=2
    ),
    "ernie4_5": dict(**GROUPED),
    "ernie4_5_moe": dict(
        num_key_value_heads=2,
        moe_num_experts=4,
        moe_k=2,
        moe_intermediate_size=48,
        moe_num_shared_experts=1,
        moe_layer_start_index=1,
    ),
    "hunyuan_v1_dense": dict(**GROUPED),
    "hunyuan_v1_moe": dict(**GROUPED, num_experts=4, moe_topk=2),
    "minimax": dict(
        **GROUPED,
        **EXPERTS,
        block_size=8,
        layer_types=["linear_attention", "full_attention"],
        _cache=False
    ),
    "bitnet": dict(num_key_value_heads=2),
    "helium": dict(**GROUPED),
    "arcee": dict(**GROUPED),
    "apertus": dict(num_key_value_heads=2),
    "lfm2": dict(
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
        block_ff_dim=128,
        _cache=False,
    ),
    "lfm2_moe": dict(
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
        num_dense_layers=1,
        **EXPERTS,
        _cache=False
    ),
    "seed_oss": dict(**GROUPED),
    "diffllama": dict(num_key_value_heads=2),
    "dots1": dict(
        **GROUPED,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        layer_types=["full_attention", "full_attention"]
    ),
    "doge": dict(num_key_value_heads=2),
    "vaultgemma": dict(
        **GROUPED,
        query_pre_attn_scalar=16,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"]
    ),
    "cwm": dict(**GROUPED),
    "moshi": dict(**GROUPED, _skip="several streams"),
    "trocr": dict(
        d_model=64, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=128, _cache=False
    ),
    "bert-decoder": dict(_type="bert", is_decoder=True),
    "bart-decoder": dict(
        _type="bart",
        d_model=64,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=128,
        encoder_layers=1,
        is_decoder=True,
        is_encoder_decoder=False,
        _cache=False,
    ),
    "prophetnet-decoder": dict(
        _type="prophetnet",
        num_decoder_layers=2,
        num_decoder_attention_heads=4,
        decoder_ffn_dim=128,
        is_decoder=True,
        is_encoder_decoder=False,
        _cache=False,
    ),
    "imagegpt": dict(n_embd=64, n_layer=2, n_head=4, n_positions=64, _cache=False),
    "blt": dict(_skip="patching"),
    "nanochat": dict(num_key_value_heads=2),
    "afmoe": dict(**GROUPED, **EXPERTS),
    "solar_open": dict(**GROUPED, **EXPERTS),
    "jais2": dict(**GROUPED),
    "youtu": dict(**GROUPED),
    "minimax_m2": dict(**GROUPED, **EXPERTS),
    "kimi_linear": dict(_skip="large"),
    "olmo_hybrid": dict(
        num_key_value_heads=2, layer_types=["linear_attention", "full_attention"], _cache=False
    ),
}
