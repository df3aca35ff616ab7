"""The keys of a config.json that say nothing about the arithmetic, and those that must not say what they could."""

from __future__ import annotations

from gemwright.errors import UserError
from gemwright.weights.fields import Fields, shorten
from gemwright.weights.quantised import KEY, read_forms

# Bookkeeping, training and generation settings: carried along, never read here.
_HARMLESS = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _from_model_config _name_or_path architectures
    attention_dropout attn_implementation auto_map bad_words_ids begin_suppress_tokens boi_token_id
    boi_token_index bos_token_id cache_implementation chunk_size_feed_forward decoder_start_token_id
    diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eoi_token_id eoi_token_index
    eos_token_id exponential_decay_length_penalty final_w_init_variance_scale finetuning_task forced_bos_token_id
    forced_eos_token_id id2label image_token_id image_token_index initializer_factor initializer_range is_decoder
    is_encoder_decoder label2id length_penalty max_length max_position_embeddings min_length model_type
    no_repeat_ngram_size num_beam_groups num_beams num_logits_to_keep num_return_sequences output_attentions
    output_hidden_states output_scores pad_token_id prefix pretraining_tp problem_type remove_invalid_values
    repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params
    temperature tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16
    use_cache vision_use_head w_init_variance_scale
    """.split()  # noqa: SIM905  # a word list reads better than eighty quoted lines
)

# key → why anything but absence, null, false or this value is refused
_NEUTRAL: dict[str, tuple[object, str]] = {
    "attention_bias": (False, "biases on queries, keys and values, which no Gemma has"),
    "mlp_bias": (False, "biases in the MLP, which this family states elsewhere"),
    "tie_word_embeddings": (True, "an output table of its own; every Gemma shares the embedding table"),
    "use_bidirectional_attention": (False, "attention to later tokens: an embedding model, not a language model"),
    "embeddings_scale_by_sqrt_dim": (True, "embeddings without their factor"),
    "add_cross_attention": (False, "cross-attention, which belongs to encoder-decoder models"),
    "cross_attention_hidden_size": (None, "cross-attention, which belongs to encoder-decoder models"),
    "tie_encoder_decoder": (False, "an encoder"),
    "is_encoder_decoder": (False, "an encoder"),
    "pruned_heads": (None, "pruned heads"),
    "compression_config": (None, "weights quantised by another program"),
    "num_experts": (None, "a mixture of experts, which no Gemma 1 to 3 is"),
    "num_local_experts": (None, "a mixture of experts, which no Gemma 1 to 3 is"),
    "hidden_size_per_layer_input": (None, "per-layer embeddings, which belong to later Gemmas"),
    "num_kv_shared_layers": (None, "keys shared between layers, which belong to later Gemmas"),
    "altup_num_inputs": (None, "alternating updates, which belong to later Gemmas"),
    "activation_sparsity_pattern": (None, "sparse activations, which belong to later Gemmas"),
    "logit_scale": (None, "a factor on the logits, which no Gemma has"),
    "embedding_multiplier": (None, "a factor on the embeddings beside the square root of the width"),
    "residual_multiplier": (None, "a factor on the residual stream, which no Gemma has"),
    "attention_multiplier": (None, "a factor on the scores beside query_pre_attn_scalar"),
}


def check_keys(fields: Fields) -> None:
    """Refuse the keys that would change the arithmetic, and other programs' quantisations; note what nobody knows.

    Call it last: it looks at what `fields` has been asked.
    """
    read_forms(fields.tree, fields.where)
    for key, (neutral, meaning) in _NEUTRAL.items():
        value = fields.tree.get(key)
        silent = (None, neutral) if neutral is True else (None, False, neutral, [], {})
        if value in silent:
            continue
        raise UserError(
            f"{fields.where}: {fields.prefix}{key} is {shorten(value)}: {meaning}",
            hint="this checkpoint needs another program",
        )
    stated = {key for key, value in fields.tree.items() if value is not None}
    unknown = sorted(stated - fields.used - _HARMLESS - _NEUTRAL.keys() - {KEY})
    if unknown:
        listed = ", ".join(shorten(fields.prefix + key) for key in unknown[:8]) + (", …" if len(unknown) > 8 else "")
        fields.notes.append(f"keys of config.json that mean nothing here, carried along: {listed}")
