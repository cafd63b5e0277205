"""Tiny transformers models with a word tokenizer, made from a config: no network, milliseconds."""

from __future__ import annotations

from typing import Any

_TEXT = (
    "the quick brown fox jumps over a lazy dog and then it sleeps under old tree while rain "
    "falls on grey river near town user assistant : . ,"
)
WORDS = _TEXT.split()
SPECIAL = ["[UNK]", "<s>", "</s>"]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} . {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


def make_tokenizer(*, bos: bool = False, eos: bool = False, chat: bool = False) -> Any:
    """One token a word; `bos` opens and `eos` closes every text; `chat` adds a template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {w: i for i, w in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos or eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=("<s> " if bos else "") + "$A" + (" </s>" if eos else ""),
            special_tokens=[("<s>", 1), ("</s>", 2)],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=TEMPLATE if chat else None,
    )


def make_tiny_llama(
    *, seed: int = 0, context: int = 64, bos: bool = False, chat: bool = False
) -> tuple[Any, Any]:
    """Module and tokenizer: two layers, width 32, peaked distributions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.35,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval(), make_tokenizer(bos=bos, chat=chat)


def make_tiny_gpt2(*, seed: int = 0, context: int = 64, chat: bool = False) -> tuple[Any, Any]:
    """Module and tokenizer: learned positions, tied embeddings."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(SPECIAL) + len(WORDS),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=context,
        initializer_range=0.25,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPT2LMHeadModel(config).eval(), make_tokenizer(chat=chat)


def make_tiny_neox(*, seed: int = 0, context: int = 64, chat: bool = False) -> tuple[Any, Any]:
    """Module and tokenizer: rotary positions on part of the width, untied embeddings."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=context,
        initializer_range=0.35,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPTNeoXForCausalLM(config).eval(), make_tokenizer(chat=chat)


def make_tiny_gemma2(*, seed: int = 0, context: int = 64, chat: bool = False) -> tuple[Any, Any]:
    """Module and tokenizer: sliding windows of six tokens, logits capped behind the head."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(seed)
    config = Gemma2Config(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=6,
        max_position_embeddings=context,
        initializer_range=0.35,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return Gemma2ForCausalLM(config).eval(), make_tokenizer(chat=chat)


def make_tiny_mamba(*, seed: int = 0, context: int = 64, chat: bool = False) -> tuple[Any, Any]:
    """Module and tokenizer: recurrent states instead of keys and values; it has no `context`."""
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(seed)
    config = MambaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        state_size=4,
        initializer_range=0.35,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return MambaForCausalLM(config).eval(), make_tokenizer(chat=chat)
