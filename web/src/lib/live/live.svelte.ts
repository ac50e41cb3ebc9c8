import { LiveClient, type LineState, type LiveEvent } from './client';

export type { LiveEvent } from './client';

class Live {
  state = $state<LineState>('off');
  #listeners = new Set<(event: LiveEvent) => void>();
  #client = new LiveClient({
    open: () => new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`),
    state: (state) => (this.state = state),
    event: (event) => {
      for (const listener of this.#listeners) listener(event);
    }
  });

  start(): void {
    this.#client.start();
  }
  stop(): void {
    this.#client.stop();
  }
  hurry(): void {
    this.#client.hurry();
  }
  /** Hears every frame until the returned function is called. */
  listen(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The one live line of this tab. */
export const live = new Live();
