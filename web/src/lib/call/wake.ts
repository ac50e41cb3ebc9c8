// Keeps the screen on while somebody is in a call.

export class Wake {
  #lock: WakeLockSentinel | undefined;

  /** `wanted` is asked again once the lock is there: the call may have ended meanwhile. */
  async hold(wanted: () => boolean): Promise<void> {
    if (!wanted() || document.visibilityState !== 'visible' || !('wakeLock' in navigator)) return;
    try {
      if (!this.#lock || this.#lock.released) this.#lock = await navigator.wakeLock.request('screen');
      if (!wanted()) await this.#lock.release();
    } catch {
      // A device with an empty battery may refuse; the call goes on.
    }
  }

  release(): void {
    void this.#lock?.release().catch(() => undefined);
  }
}
