"""`SpectralSeq2Seq`, as documented: from one sequence of tokens to another with spectral mixers."""

from dataclasses import replace
from typing import Any, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.generation.streamers import BaseStreamer

from undula.hf.seq2seq import UndulaForSeq2SeqLM, UndulaSeq2SeqConfig
from undula.models.config import EmbeddingConfig, EncoderDecoderConfig
from undula.models.spectral_config import SpectralConfig
from undula.shapes import Logits, SourceIds, TokenIds

CROSS = "landmarks"
"""What a spectral decoder reads its source with."""


def encoder_decoder(config: SpectralConfig, cross: str = CROSS) -> EncoderDecoderConfig:
    """Return the plan of an encoder and a decoder of a spectral configuration, as deep as it says, each.

    Args:
        config: widths, layers and mixers.
        cross: what the decoder reads its source with.
    """
    return EncoderDecoderConfig(
        vocab_size=config.vocab_size,
        embedding=EmbeddingConfig(width=config.embed_dim, tied=config.tie_word_embeddings),
        context_length=config.max_seq_len,
        encoder=config.backbone(causal=False),
        decoder=replace(config.backbone(), cross=cross),
    )


class SpectralSeq2Seq(nn.Module):
    """Scores (B, T, V) of the token after each target position, given a source; and whole targets by `generate`.

    The encoder is bidirectional, the decoder causal; it reads the source through landmarks of its spectrum, at a cost
    of S + T. Tokens of the source that are `pad_token_id` are padding; in targets the id is a token like others.

    Args:
        config: the model; encoder and decoder have num_layers each.
        eos_token_id: ends a target.
        pad_token_id: padding of sources, and what follows the end of a target.
        bos_token_id: begins a target.

    Raises:
        ValueError: for a special token outside the vocabulary, or a configuration that is not for text.

    Attributes: model, the same as an ordinary Hugging Face model: `save_pretrained`, Trainer, `generate`.

    Source: "Spectral Neural Networks v3.0", component 4.
    """

    def __init__(
        self, config: SpectralConfig, eos_token_id: int = 2, pad_token_id: int = 0, bos_token_id: int = 1
    ) -> None:
        super().__init__()
        ids: dict[str, Any] = {"eos_token_id": eos_token_id, "pad_token_id": pad_token_id, "bos_token_id": bos_token_id}
        for name, value in ids.items():
            if not 0 <= value < config.vocab_size:
                raise ValueError(f"{name}={value}; wanted one of the vocab_size={config.vocab_size} tokens")
        if config.modality != "text":
            raise ValueError(f"modality={str(config.modality)!r}; this model reads tokens: take 'text'")
        self.config, self.pad_token_id = config, pad_token_id
        self.model = UndulaForSeq2SeqLM(UndulaSeq2SeqConfig(model=encoder_decoder(config), **ids))

    def forward(self, src: SourceIds, tgt: TokenIds) -> Logits:
        """Return scores; those at [:, i] are of the token after tgt[:, i].

        Raises:
            ValueError: for an empty source, batches that differ, or more tokens than max_seq_len.
        """
        return self.model.model(src, tgt, self.source_mask(src))

    def alignment(self, src: SourceIds, tgt: TokenIds) -> Float[Tensor, "B T S"]:
        """Return how much each target position reads of each source position, in mean over layers and heads: sum 1."""
        return self.model.model.alignment(src, tgt, self.source_mask(src))

    def source_mask(self, src: SourceIds) -> Bool[Tensor, "sources S"]:
        """Return which tokens of a source are no padding."""
        return src != self.pad_token_id

    def generate(
        self,
        src: SourceIds,
        max_length: int = 100,
        min_length: int = 1,
        num_beams: int = 1,
        temperature: float = 1.0,
        top_k: int = 50,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        length_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        num_return_sequences: int = 1,
        do_sample: bool = False,
        early_stopping: bool | Literal["never"] = True,
        *,
        num_beam_groups: int = 1,
        diversity_penalty: float = 0.0,
        coverage_penalty: float = 0.0,
        min_p: float | None = None,
        streamer: BaseStreamer | None = None,
    ) -> Int[Tensor, "R T"]:
        """Return targets (B * num_return_sequences, at most max_length) that begin with bos_token_id, best first.

        After an end there is padding alone. This is `generate` of the model in `model`, which knows more options; see
        `generation.beam_search.BeamPlan` for those of beams.

        Args:
            src: sources.
            max_length: of a target, its begin and its end included.
            min_length: no end before so many tokens, its begin included.
            num_beams: sequences that are followed at once; 1: greedy, or drawn.
            temperature, top_k, top_p, min_p: of drawing; read with do_sample alone.
            repetition_penalty: above 1, scores of tokens that the target has already are divided by it where positive,
                multiplied where negative.
            length_penalty, early_stopping, num_beam_groups, diversity_penalty, coverage_penalty: of beams.
            no_repeat_ngram_size: no such many tokens occur twice.
            num_return_sequences: for each source.
            do_sample: draw, instead of taking the best.
            streamer: told of each token as it comes; with one beam.

        Raises:
            ValueError: for an empty source, or options that are out of bounds or contradict each other.
        """
        options: dict[str, Any] = {
            **{"max_length": max_length, "min_length": min_length, "num_beams": num_beams},
            "repetition_penalty": repetition_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
            "num_return_sequences": num_return_sequences,
            "do_sample": do_sample,
            "num_beam_groups": num_beam_groups,
            "diversity_penalty": diversity_penalty,
            "coverage_penalty": coverage_penalty,
            "streamer": streamer,
        }
        if do_sample:
            options |= {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        if num_beams > 1:
            options |= {"length_penalty": length_penalty, "early_stopping": early_stopping}
        return self.model.generate(src, attention_mask=self.source_mask(src).long(), **options)
