// When the device moves to another network.

/** Calls back when the device is online again or on another kind of network; returns how to stop. */
export function onNetworkChange(changed: () => void): () => void {
  const network = (navigator as Navigator & { connection?: EventTarget & { type?: string } }).connection;
  let kind = network?.type;
  const moved = () => {
    // This event also tells of mere estimates; only another kind of network is a change.
    if (network?.type === kind) return;
    kind = network?.type;
    changed();
  };
  window.addEventListener('online', changed);
  network?.addEventListener('change', moved);
  return () => {
    window.removeEventListener('online', changed);
    network?.removeEventListener('change', moved);
  };
}
