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
}

export function isCurrent(item: NavItem, path: string): boolean {
  return path === item.href || (!!item.under && path.startsWith(`${item.href}/`));
}
