import type { Appointment, Invoice, VisitSummary } from '$lib/api/types';

/** Minutes before the start from which the waiting room is open. */
export const JOIN_EARLY_MIN = 30;
/** A visit that finished this recently is worth reading. */
const RESULT_DAYS = 7;
/** A camera check is worth offering this long before a video visit. */
const CHECK_HOURS = 24;

export type NextStep =
  | { step: 'join' | 'waiting' | 'check' | 'next'; appointment: Appointment }
  | { step: 'pay'; invoice: Invoice }
  | { step: 'result'; visit: VisitSummary }
  | { step: 'book' };

export function isOpen(appointment: Appointment): boolean {
  return ['booked', 'arrived', 'in-progress'].includes(appointment.status);
}
/** Whether the waiting room of a video visit is open at `now`. */
export function canJoin(appointment: Appointment, now: Date): boolean {
  if (appointment.kind !== 'video' || !isOpen(appointment)) return false;
  if (appointment.status !== 'booked') return true;
  const start = new Date(appointment.start).getTime();
  const end = new Date(appointment.end).getTime();
  return now.getTime() >= start - JOIN_EARLY_MIN * 60_000 && now.getTime() <= end + 60 * 60_000;
}
/** Open visits that are not over yet, soonest first. */
export function upcoming(appointments: Appointment[], now: Date): Appointment[] {
  return appointments
    .filter((one) => isOpen(one) && (one.status !== 'booked' || new Date(one.end) > now || canJoin(one, now)))
    .sort((a, b) => a.start.localeCompare(b.start));
}

/** The one thing a patient should do now; the most pressing first. */
export function nextStep(
  appointments: Appointment[],
  invoices: Invoice[],
  visits: VisitSummary[],
  now: Date
): NextStep {
  const coming = upcoming(appointments, now);
  const joinable = coming.find((one) => canJoin(one, now));
  if (joinable) return { step: joinable.status === 'arrived' ? 'waiting' : 'join', appointment: joinable };
  const due = invoices.find((invoice) => invoice.status === 'issued' && invoice.due.amount_minor > 0);
  if (due) return { step: 'pay', invoice: due };
  const soon = coming[0];
  if (soon?.kind === 'video' && !soon.device_checked) {
    const hours = (new Date(soon.start).getTime() - now.getTime()) / 3_600_000;
    if (hours <= CHECK_HOURS) return { step: 'check', appointment: soon };
  }
  if (soon) return { step: 'next', appointment: soon };
  const recent = visits.find(
    (visit) => visit.state === 'finished' && now.getTime() - new Date(visit.date).getTime() < RESULT_DAYS * 86_400_000
  );
  if (recent) return { step: 'result', visit: recent };
  return { step: 'book' };
}
