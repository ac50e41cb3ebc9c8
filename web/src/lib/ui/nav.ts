import type { Component } from 'svelte';

/** One place in a portal's menu. */
export interface NavItem {
  href: string;
  label: string;
  /** For the narrow tabs of a phone. */
  short?: string;
  icon: Component<{ size?: number }>;
  /** Also current under this address; otherwise only on `href` itself. */
  under?: boolean;
  count?: number;
  /** Heading under which it stands; those of one group follow each other. */
  group?: string;
}

/** The heading to draw before an item: its group, where that begins. */
export function headingOf(items: NavItem[], index: number): string | undefined {
  const group = items[index]?.group;
  return group && group !== items[index - 1]?.group ? group : undefined;
}

export function isCurrent(item: NavItem, path: string): boolean {
  return path === item.href || (!!item.under && path.startsWith(`${item.href}/`));
}
