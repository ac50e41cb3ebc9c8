import type { Component } from 'svelte';
import Icon from './Icon.svelte';

/** A drawing beside a word; never read aloud. `size` in px. */
export type IconComponent = Component<{ size?: number }>;

/** Makes the component of one path on Lucide's 24 × 24 grid. */
export function icon(d: string): IconComponent {
  const draw: IconComponent = (internals, props) =>
    Icon(internals, {
      d,
      get size() {
        return props.size;
      }
    });
  return draw;
}
