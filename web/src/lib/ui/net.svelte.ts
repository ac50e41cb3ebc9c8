import { createSubscriber } from 'svelte/reactivity';

/** Whether the device says that it is connected. */
class Net {
  #follow = createSubscriber((update) => {
    addEventListener('online', update);
    addEventListener('offline', update);
    return () => {
      removeEventListener('online', update);
      removeEventListener('offline', update);
    };
  });
  get online(): boolean {
    this.#follow();
    return navigator.onLine;
  }
}

export const net = new Net();
