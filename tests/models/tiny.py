"""Making tiny models: a BERT, and two that write."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)  # fmt: skip

TEXT = """how many much who what where when is was the a of in city man river number abbreviation tall far"""
WORDS = TEXT.split()


def save_tiny_bert(folder: Path, *, seed: int = 0, pooler: bool = False) -> Path:
    """Save a random BERT (2 layers, D = 32, at most 40 tokens) with a vocabulary of words and letters; its folder."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *"bcdefghijklmnopqrstuvwxyz", "##a", "##e", "##n", "?"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(str(folder))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=40, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=pooler).save_pretrained(str(folder))
    return folder


SPECIAL = ["<end>", "<pad>", "<unk>", "<user>", "<assistant>"]
CHAT = (
    "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_tiny_writer(folder: Path, kind: str, *, chat: bool = False, seed: int = 0) -> Path:
    """Save a random model that writes words (D = 32); its folder. ``kind``: ``causal``, whose padding is the token that
    ends a text, or ``seq2seq``."""
    vocabulary = [*SPECIAL, *WORDS]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if kind == "seq2seq":
        tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 0)])
    pad = "<end>" if kind == "causal" else "<pad>"
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token="<unk>", eos_token="<end>", model_max_length=512
    )
    fast.chat_template = CHAT if chat else None
    fast.save_pretrained(str(folder))
    torch.manual_seed(seed)
    if kind == "causal":
        config = LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
            pad_token_id=0, bos_token_id=None, eos_token_id=0,
            tie_word_embeddings=True, initializer_range=0.2,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(str(folder))
    else:
        config = T5Config(
            vocab_size=len(vocabulary), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0,
            pad_token_id=1, eos_token_id=0, decoder_start_token_id=1,
        )  # fmt: skip
        T5ForConditionalGeneration(config).save_pretrained(str(folder))
    return folder
