// Camera, microphone and screen of this device.

export type MediaProblem = 'denied' | 'missing' | 'busy' | 'insecure' | 'failed';

export interface Devices {
  cameras: MediaDeviceInfo[];
  microphones: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

export interface Choice {
  camera?: string;
  microphone?: string;
  speaker?: string;
}

const CHOICE_KEY = 'uzima.call.devices';

/** What the browser means by its many exceptions. */
export function problemOf(error: unknown): MediaProblem {
  const name = (error as { name?: string } | null)?.name ?? '';
  if (name === 'NotAllowedError' || name === 'SecurityError' || name === 'PermissionDeniedError') return 'denied';
  if (name === 'NotFoundError' || name === 'OverconstrainedError' || name === 'DevicesNotFoundError') return 'missing';
  if (name === 'NotReadableError' || name === 'AbortError' || name === 'TrackStartError') return 'busy';
  return 'failed';
}

/** Devices as far as the browser tells; labels are empty before the first permission. */
export async function listDevices(): Promise<Devices> {
  const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const of = (kind: MediaDeviceKind) => all.filter((device) => device.kind === kind && device.deviceId !== '');
  return { cameras: of('videoinput'), microphones: of('audioinput'), speakers: of('audiooutput') };
}

/** The devices somebody chose on this computer before. */
export function rememberedChoice(): Choice {
  try {
    return JSON.parse(localStorage.getItem(CHOICE_KEY) ?? '{}') as Choice;
  } catch {
    return {};
  }
}

function remember(choice: Choice): void {
  try {
    localStorage.setItem(CHOICE_KEY, JSON.stringify(choice));
  } catch {
    // Private windows may refuse; the choice then lasts for this call.
  }
}

/** 480 lines are plenty for a face and light on a cheap phone; a better camera is used when the link allows. */
function videoWish(device: string | undefined): MediaTrackConstraints {
  return {
    ...(device ? { deviceId: { ideal: device } } : { facingMode: 'user' }),
    width: { ideal: 1280 },
    height: { ideal: 720 },
    frameRate: { ideal: 25, max: 30 }
  };
}

function audioWish(device: string | undefined): MediaTrackConstraints {
  return {
    ...(device ? { deviceId: { ideal: device } } : {}),
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    channelCount: { ideal: 1 }
  };
}

async function open(constraints: MediaStreamConstraints): Promise<MediaStreamTrack> {
  if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error('no media devices'), { name: 'InsecureError' });
  const stream = await navigator.mediaDevices.getUserMedia(constraints);
  const [track] = stream.getTracks();
  if (!track) throw Object.assign(new Error('no track'), { name: 'NotFoundError' });
  return track;
}

/** Owns the tracks of this side. Every getter is null while the device is off or failed. */
export class LocalMedia {
  microphone: MediaStreamTrack | null = null;
  camera: MediaStreamTrack | null = null;
  screen: MediaStreamTrack | null = null;
  problems: { microphone?: MediaProblem; camera?: MediaProblem } = {};
  choice: Choice = rememberedChoice();
  /** Called whenever a track came, went or ended by itself (unplugged, screen sharing stopped by the browser). */
  onchange: (() => void) | undefined;

  /** Opens microphone and, unless `audioOnly`, camera; each failure is noted and the other still opens. */
  async start(audioOnly: boolean): Promise<void> {
    // One question to the user instead of two where both are wanted.
    if (!audioOnly && !this.microphone && !this.camera && navigator.mediaDevices?.getUserMedia) {
      try {
        const stream = await navigator.mediaDevices.getUserMedia({
          audio: audioWish(this.choice.microphone),
          video: videoWish(this.choice.camera)
        });
        this.#keep('microphone', stream.getAudioTracks()[0] ?? null);
        this.#keep('camera', stream.getVideoTracks()[0] ?? null);
        this.problems = {};
        this.onchange?.();
        return;
      } catch {
        // Found out one by one which of them it is.
      }
    }
    if (!this.microphone) await this.openMicrophone();
    if (!audioOnly && !this.camera) await this.openCamera();
  }

  async openMicrophone(device: string | undefined = this.choice.microphone): Promise<boolean> {
    return this.#open('microphone', () => open({ audio: audioWish(device) }));
  }

  async openCamera(device: string | undefined = this.choice.camera): Promise<boolean> {
    return this.#open('camera', () => open({ video: videoWish(device) }));
  }

  async #open(kind: 'microphone' | 'camera', get: () => Promise<MediaStreamTrack>): Promise<boolean> {
    try {
      const track = await get();
      this[kind]?.stop();
      this.#keep(kind, track);
      delete this.problems[kind];
    } catch (error) {
      this.problems[kind] = navigator.mediaDevices ? problemOf(error) : 'insecure';
    }
    this.onchange?.();
    return this.problems[kind] === undefined;
  }

  #keep(kind: 'microphone' | 'camera' | 'screen', track: MediaStreamTrack | null): void {
    this[kind] = track;
    track?.addEventListener('ended', () => {
      if (this[kind] !== track) return;
      this[kind] = null;
      if (kind !== 'screen') this.problems[kind] = 'missing';
      this.onchange?.();
    });
  }

  /** Switches to another device and remembers it. */
  async choose(kind: 'camera' | 'microphone' | 'speaker', device: string): Promise<void> {
    this.choice = { ...this.choice, [kind]: device };
    remember(this.choice);
    if (kind === 'camera' && this.camera) await this.openCamera(device);
    if (kind === 'microphone' && this.microphone) {
      const enabled = this.microphone.enabled;
      await this.openMicrophone(device);
      if (this.microphone) this.microphone.enabled = enabled;
      this.onchange?.();
    }
  }

  closeCamera(): void {
    this.camera?.stop();
    this.camera = null;
    this.onchange?.();
  }

  /** Asks which screen or window; false when the user thought better of it. */
  async openScreen(): Promise<boolean> {
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 10 } }, audio: false });
      const track = stream.getVideoTracks()[0];
      if (!track) return false;
      track.contentHint = 'detail';
      this.#keep('screen', track);
      this.onchange?.();
      return true;
    } catch {
      return false;
    }
  }

  closeScreen(): void {
    this.screen?.stop();
    this.screen = null;
    this.onchange?.();
  }

  stop(): void {
    this.onchange = undefined;
    for (const kind of ['microphone', 'camera', 'screen'] as const) {
      this[kind]?.stop();
      this[kind] = null;
    }
  }
}

/** Calls back about ten times a second with the loudness of a track, 0–1; returns how to stop. */
export function meter(track: MediaStreamTrack, level: (value: number) => void): () => void {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    // Browsers hold sound back until the page has been touched.
    if (context.state === 'suspended') void context.resume();
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    for (const sample of samples) sum += sample * sample;
    const decibels = 20 * Math.log10(Math.sqrt(sum / samples.length) || 1e-6);
    level(Math.min(1, Math.max(0, (decibels + 60) / 54)));
  }, 100);
  return () => {
    clearInterval(timer);
    void context.close();
  };
}
