# The public names of undula, one line each. Type checkers read this file, and so does __init__.py when it starts:
# a line here is all that a new name needs.
from undula.audit.run import audit_language_model as audit_language_model
from undula.audit.run import audit_mixer as audit_mixer
from undula.experiments.run import load_run as load_run
from undula.experiments.run import train_run as train_run
from undula.hf.configuration import UndulaConfig as UndulaConfig
from undula.hf.modeling import UndulaForCausalLM as UndulaForCausalLM
from undula.mixers.attention import FlashAttention as FlashAttention
from undula.mixers.base import MIXERS as MIXERS
from undula.mixers.base import Mixer as Mixer
from undula.mixers.base import State as State
from undula.mixers.base import Traits as Traits
from undula.mixers.fft_conv import FFTConv as FFTConv
from undula.mixers.short_conv import ShortConv as ShortConv
from undula.models.audio_codec import AudioWaveDecoder as AudioWaveDecoder
from undula.models.audio_codec import AudioWaveEncoder as AudioWaveEncoder
from undula.models.backbone import Backbone as Backbone
from undula.models.blocks import DeepNormParallelBlock as DeepNormParallelBlock
from undula.models.blocks import NonCausalParallelBlock as NonCausalParallelBlock
from undula.models.blocks import ParallelBlock as ParallelBlock
from undula.models.blocks import PreNormBlock as PreNormBlock
from undula.models.language_model import LanguageModel as LanguageModel
from undula.models.token_codec import TokenDecoder as TokenDecoder
from undula.models.token_codec import TokenEncoder as TokenEncoder
from undula.models.wave_transformer import WaveTransformer as WaveTransformer
from undula.nn.feed_forward import PositionWiseFeedForward as PositionWiseFeedForward
from undula.nn.feed_forward import SwiGLU as SwiGLU
from undula.nn.norms import RMSNorm as RMSNorm
from undula.recipes.catalogue import RECIPES as RECIPES
from undula.training.config import TrainConfig as TrainConfig
from undula.wave import Wave as Wave
from undula.wave import plot_wave_series as plot_wave_series

__version__: str
__all__: list[str]
