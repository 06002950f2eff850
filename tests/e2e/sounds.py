"""A tone to play in an instance, and an ear in the browser that says which tone comes out of the loudspeaker."""

import array
import io
import math
import wave

RATE = 48_000

# Runs before every document's own scripts. Everything that is connected to a loudspeaker is heard by an analyser too.
EAR_SCRIPT = """
(() => {
  const connect = AudioNode.prototype.connect;
  const ears = window.__ears = [];
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      const ear = new AnalyserNode(this.context, { fftSize: 32768, smoothingTimeConstant: 0 });
      connect.call(this, ear);
      ears.push(ear);
    }
    return connect.call(this, target, ...rest);
  };
})();
"""

# Returns [frequency of the loudest tone in Hz, its level in dB] of the newest loudspeaker, or null.
LISTEN_SCRIPT = """
() => {
  const ear = (window.__ears ?? []).at(-1);
  if (!ear) return null;
  const levels = new Float32Array(ear.frequencyBinCount);
  ear.getFloatFrequencyData(levels);
  let best = 0;
  for (let i = 1; i < levels.length; i += 1) if (levels[i] > levels[best]) best = i;
  return [best * ear.context.sampleRate / ear.fftSize, levels[best]];
}
"""


def tone(frequency_in_hz: float, seconds: float) -> bytes:
    """Return a WAV file with a pure tone at half of full scale."""
    samples = array.array(
        "h", (round(16_000 * math.sin(2 * math.pi * frequency_in_hz * i / RATE)) for i in range(round(RATE * seconds)))
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(samples.tobytes())
    return file.getvalue()
