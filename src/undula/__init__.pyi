# The public names of undula, one line each. Type checkers read this file, and so does __init__.py when it starts:
# a line here is all that a new name needs.
from undula.audit.run import audit_language_model as audit_language_model
from undula.audit.run import audit_mixer as audit_mixer
from undula.experiments.animate import animate as animate
from undula.experiments.compare import compare as compare
from undula.experiments.diagnostics import WaveDiagnostics as WaveDiagnostics
from undula.experiments.run import load_run as load_run
from undula.experiments.run import train_run as train_run
from undula.hf.configuration import UndulaConfig as UndulaConfig
from undula.hf.modeling import UndulaForCausalLM as UndulaForCausalLM
from undula.losses.coherence import QuantumFieldEntanglementLoss as QuantumFieldEntanglementLoss
from undula.losses.coherence import WaveCoherenceLoss as WaveCoherenceLoss
from undula.losses.coherence import create_physics_loss as create_physics_loss
from undula.mixers.attention import FlashAttention as FlashAttention
from undula.mixers.base import MIXERS as MIXERS
from undula.mixers.base import Mixer as Mixer
from undula.mixers.base import State as State
from undula.mixers.base import Traits as Traits
from undula.mixers.cosine import CosineAttention as CosineAttention
from undula.mixers.fft_conv import FFTConv as FFTConv
from undula.mixers.interference import InterferenceAttention as InterferenceAttention
from undula.mixers.interference_linear import InterferenceLinearAttention as InterferenceLinearAttention
from undula.mixers.phase_coherent import PhaseCoherentAttention as PhaseCoherentAttention
from undula.mixers.pure_wave import PureWaveAttention as PureWaveAttention
from undula.mixers.pure_wave_linear import PureWaveLinearAttention as PureWaveLinearAttention
from undula.mixers.short_conv import ShortConv as ShortConv
from undula.models.audio_codec import AudioWaveDecoder as AudioWaveDecoder
from undula.models.audio_codec import AudioWaveEncoder as AudioWaveEncoder
from undula.models.backbone import Backbone as Backbone
from undula.models.blocks import DeepNormParallelBlock as DeepNormParallelBlock
from undula.models.blocks import NonCausalParallelBlock as NonCausalParallelBlock
from undula.models.blocks import ParallelBlock as ParallelBlock
from undula.models.blocks import PhaseCoherentParallelBlock as PhaseCoherentParallelBlock
from undula.models.blocks import PreNormBlock as PreNormBlock
from undula.models.language_model import LanguageModel as LanguageModel
from undula.models.size import parameter_count as parameter_count
from undula.models.token_codec import TokenDecoder as TokenDecoder
from undula.models.token_codec import TokenEncoder as TokenEncoder
from undula.models.wave_gpt import WaveGPT as WaveGPT
from undula.models.wave_gpt import WaveGPTConfig as WaveGPTConfig
from undula.models.wave_transformer import WaveTransformer as WaveTransformer
from undula.nn.feed_forward import PositionWiseFeedForward as PositionWiseFeedForward
from undula.nn.feed_forward import SwiGLU as SwiGLU
from undula.nn.norms import RMSNorm as RMSNorm
from undula.nn.phase_coherence import PhaseCoherenceComputer as PhaseCoherenceComputer
from undula.nn.wave_packet import WavePacketEmbedding as WavePacketEmbedding
from undula.optim.compat import ResonantGradientDescent as ResonantGradientDescent
from undula.optim.compat import create_physics_optimizer as create_physics_optimizer
from undula.optim.wave_native import WaveNativeOptimizer as WaveNativeOptimizer
from undula.recipes.catalogue import RECIPES as RECIPES
from undula.training.annealing import get_annealing_ratio as get_annealing_ratio
from undula.training.config import TrainConfig as TrainConfig
from undula.wave import Wave as Wave
from undula.wave import plot_wave_series as plot_wave_series

__version__: str
__all__: list[str]
