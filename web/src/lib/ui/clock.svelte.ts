import { createSubscriber } from 'svelte/reactivity';

const TICK_MS = 10_000;

/** The present, as a reactive value that moves every ten seconds while something shows it. */
class Clock {
  #now = new Date();
  #follow = createSubscriber((update) => {
    this.#now = new Date();
    const timer = setInterval(() => {
      this.#now = new Date();
      update();
    }, TICK_MS);
    return () => clearInterval(timer);
  });
  get now(): Date {
    this.#follow();
    return this.#now;
  }
}

export const clock = new Clock();
