"""Text from decoders: the step with its cache, and the searches that repeat it inside a graph."""

from tftransformer.lazy import attach

_NAMES = {
    "step": ("decode_step", "start_decoding"),
    "prompting": ("generate", "stream"),
    "decoder_run": ("DecoderRun", "Generated"),
    "sampling": ("Greedy", "Sampling"),
    "beams": ("BeamSearch",),
    "searches": ("search_from_config", "search_to_config"),
    "constraints": ("Banned", "Forced", "MinLength", "NoRepeatNgrams", "RepetitionPenalty"),
}
__getattr__, __dir__, __all__ = attach(__name__, {name: file for file, names in _NAMES.items() for name in names})
