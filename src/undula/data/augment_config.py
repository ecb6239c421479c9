"""How inputs are changed in training, as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass, fields

OF_IMAGES, OF_SOUND = ("shift", "rotation", "zoom"), ("delay", "speed", "gain", "noise", "mask_mels", "mask_frames")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes of which each is drawn evenly between nothing and its limit, in both directions; 0: none.

    What is drawn depends on the run's seed and the item's number alone.

    Args:
        shift: of images, in pixels, down and across; outside is black.
        rotation: of images, in degrees.
        zoom: of images, as a share of their size.
        delay: of recordings, in seconds; sooner means that their beginning is cut.
        speed: of recordings, as a share; it changes pitch and length alike.
        gain: of recordings, in dB.
        noise: of recordings: white noise of up to this share of their root mean square.
        mask_mels: share of the bands of a mel spectrogram that are taken away, in a row.
        mask_frames: share of its frames that are taken away, in a row.

    Raises:
        ValueError: for a value out of range.
    """

    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    delay: float = 0.0
    speed: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    mask_mels: float = 0.0
    mask_frames: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            most = 1.0 if each.name in ("zoom", "speed", "mask_mels", "mask_frames") else float("inf")
            if not 0 <= value < most:
                raise ValueError(f"augment.{each.name}={value}; wanted 0 or more" + (", below 1" if most == 1 else ""))

    def check(self, kind: str) -> None:
        """See that nothing is asked for that such data do not have.

        Raises:
            ValueError: when there is.
        """
        known = {"image": OF_IMAGES, "sound": OF_SOUND}.get(kind, ())
        for each in fields(self):
            if getattr(self, each.name) and each.name not in known:
                raise ValueError(
                    f"augment.{each.name}={getattr(self, each.name)} with data.kind={kind!r}; what there is for it: "
                    f"{', '.join(known) or 'nothing'}"
                )
