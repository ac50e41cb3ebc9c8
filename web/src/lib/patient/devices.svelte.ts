import { api } from '$lib/api/client';
import type { DeviceCheck } from '$lib/api/types';
// Not through the index: the check must not bring the whole call along.
import { checkCamera, checkRelay } from '$lib/call/check';
import { LocalMedia, meter } from '$lib/call/media';
import type { JoinGrant } from '$lib/call/protocol';

export type CheckState = 'idle' | 'running' | 'good' | 'bad';
/** Loudness from which somebody was heard. */
const HEARD = 0.06;

/** The three checks before a call. Its devices stay open for the call that follows. */
export class Devices {
  camera = $state<CheckState>('idle');
  microphone = $state<CheckState>('idle');
  relay = $state<CheckState>('idle');
  /** Loudness of the microphone, 0 to 1. */
  level = $state(0);
  heard = $state(false);
  audioOnly = $state(false);
  picture = $state.raw<MediaStream>();
  readonly media = new LocalMedia();
  #quiet: (() => void) | undefined;

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
    await Promise.all([this.#open(), this.#relay()]);
  }
  /** Stops listening to the microphone; the tracks stay for the call. */
  hush(): void {
    this.#quiet?.();
    this.#quiet = undefined;
    this.level = 0;
  }
  release(): void {
    this.hush();
    this.media.stop();
    this.picture = undefined;
  }
  async #open(): Promise<void> {
    await this.media.start(this.audioOnly);
    const { camera, microphone } = this.media;
    if (microphone) {
      this.#quiet = meter(microphone, (value) => {
        this.level = value;
        if (value > HEARD) this.heard = true;
      });
    }
    this.microphone = microphone ? 'good' : 'bad';
    if (this.audioOnly) return;
    if (camera) this.picture = new MediaStream([camera]);
    this.camera = camera && (await checkCamera(camera)) ? 'good' : 'bad';
  }
  async #relay(): Promise<void> {
    try {
      const grant = await api.get<Pick<JoinGrant, 'ice_servers'>>('turn-credentials');
      this.relay = (await checkRelay(grant.ice_servers)).ok ? 'good' : 'bad';
    } catch {
      this.relay = 'bad';
    }
  }
}
