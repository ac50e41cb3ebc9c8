import { api } from '$lib/api/client';
import type { DeviceCheck, JoinGrant } from '$lib/api/types';

export type CheckState = 'idle' | 'running' | 'good' | 'bad';
/** A relay that has not answered by then is told as a failure. */
const RELAY_TIMEOUT_MS = 8_000;

/** Asks the relay for an address of its own: that is what a call through it needs first. */
export async function relayAnswers(servers: RTCIceServer[]): Promise<boolean> {
  if (servers.length === 0) return false;
  const line = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: 'relay' });
  try {
    line.createDataChannel('check');
    const found = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), RELAY_TIMEOUT_MS);
      line.onicecandidate = (event) => {
        if (event.candidate?.candidate.includes(' relay')) {
          clearTimeout(timer);
          resolve(true);
        } else if (event.candidate === null) {
          clearTimeout(timer);
          resolve(false);
        }
      };
    });
    await line.setLocalDescription(await line.createOffer());
    return await found;
  } finally {
    line.close();
  }
}

/** The three checks before a call. Owns its stream until `release`. */
export class Devices {
  camera = $state<CheckState>('idle');
  microphone = $state<CheckState>('idle');
  relay = $state<CheckState>('idle');
  /** Loudness of the microphone, 0 to 1. */
  level = $state(0);
  heard = $state(false);
  audioOnly = $state(false);
  stream = $state.raw<MediaStream>();
  #context: AudioContext | undefined;
  #frame = 0;

  get started(): boolean {
    return this.camera !== 'idle' || this.microphone !== 'idle';
  }
  get running(): boolean {
    return [this.camera, this.microphone, this.relay].includes('running');
  }
  get result(): DeviceCheck {
    return {
      camera: this.camera === 'good',
      microphone: this.microphone === 'good',
      relay: this.relay === 'good',
      audio_only: this.audioOnly || this.camera !== 'good'
    };
  }
  async start(): Promise<void> {
    this.release();
    this.camera = this.audioOnly ? 'idle' : 'running';
    this.microphone = 'running';
    this.relay = 'running';
    this.heard = false;
    await Promise.all([this.#media(), this.#relay()]);
  }
  release(): void {
    cancelAnimationFrame(this.#frame);
    void this.#context?.close();
    this.#context = undefined;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = undefined;
    this.level = 0;
  }
  async #media(): Promise<void> {
    // One at a time when both together fail: a missing camera must not hide a working microphone.
    const video = { width: { ideal: 640 }, height: { ideal: 360 }, facingMode: 'user' };
    let stream: MediaStream | undefined;
    if (!this.audioOnly) stream = await open({ video, audio: true });
    if (stream) this.camera = 'good';
    else {
      const sound = await open({ audio: true });
      const picture = this.audioOnly ? undefined : await open({ video });
      if (!this.audioOnly) this.camera = picture ? 'good' : 'bad';
      const tracks = [...(sound?.getTracks() ?? []), ...(picture?.getTracks() ?? [])];
      if (tracks.length > 0) stream = new MediaStream(tracks);
    }
    this.stream = stream;
    if (stream && stream.getAudioTracks().length > 0) {
      this.microphone = 'good';
      this.#listen(stream);
    } else this.microphone = 'bad';
  }
  #listen(stream: MediaStream): void {
    const context = new AudioContext();
    this.#context = context;
    void context.resume();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const measure = () => {
      analyser.getFloatTimeDomainData(samples);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      this.level = Math.min(1, Math.sqrt(sum / samples.length) * 6);
      if (this.level > 0.06) this.heard = true;
      this.#frame = requestAnimationFrame(measure);
    };
    measure();
  }
  async #relay(): Promise<void> {
    try {
      const grant = await api.get<Pick<JoinGrant, 'ice_servers'>>('turn-credentials');
      this.relay = (await relayAnswers(grant.ice_servers)) ? 'good' : 'bad';
    } catch {
      this.relay = 'bad';
    }
  }
}

async function open(constraints: MediaStreamConstraints): Promise<MediaStream | undefined> {
  try {
    return await navigator.mediaDevices.getUserMedia(constraints);
  } catch {
    // Refused, missing or in use: the screen says what to do for each of them.
    return undefined;
  }
}
