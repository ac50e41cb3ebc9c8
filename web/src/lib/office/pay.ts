import type { Invoice, Payment, PaymentState } from '$lib/api/types';
import Ban from '$lib/icons/ban';
import CircleCheck from '$lib/icons/circle-check';
import CircleX from '$lib/icons/circle-x';
import Hourglass from '$lib/icons/hourglass';
import TriangleAlert from '$lib/icons/triangle-alert';
import type { Tone } from '$lib/ui/Status.svelte';

/** States from which money may still arrive; a second request could take it twice. */
const OPEN: PaymentState[] = ['created', 'submitting', 'awaiting', 'unknown'];

export function isOpen(payment: Payment): boolean {
  return OPEN.includes(payment.state);
}
/** Payments of an invoice, newest first. */
export function newestFirst(invoice: Invoice): Payment[] {
  return [...invoice.payments].sort((a, b) => b.created_at.localeCompare(a.created_at));
}
export function lookOf(state: PaymentState): { tone: Tone; icon: typeof Ban } {
  switch (state) {
    case 'paid':
      return { tone: 'good', icon: CircleCheck };
    case 'created':
    case 'submitting':
    case 'awaiting':
      return { tone: 'info', icon: Hourglass };
    case 'unknown':
      return { tone: 'warn', icon: TriangleAlert };
    case 'cancelled':
      return { tone: 'plain', icon: Ban };
    case 'failed':
    case 'expired':
      return { tone: 'plain', icon: CircleX };
  }
}
