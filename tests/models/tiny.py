"""Making the tiny BERT."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

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
