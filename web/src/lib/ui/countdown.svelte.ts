/** Seconds until something may be tried again; counts down by itself and needs no right clock. */
export class Countdown {
  left = $state(0);
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Begins anew; 0 ends it. */
  start(seconds: number): void {
    clearInterval(this.#timer);
    const end = performance.now() + seconds * 1000;
    this.left = Math.ceil(seconds);
    if (seconds <= 0) return;
    this.#timer = setInterval(() => {
      this.left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      if (this.left === 0) clearInterval(this.#timer);
    }, 250);
  }
  stop(): void {
    clearInterval(this.#timer);
  }
}
