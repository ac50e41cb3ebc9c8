// The shapes that the cashier and the administration read beside those in `types.ts`.
import type { Appointment, Coded, Invoice, Money, Payment, Role } from './types';

export interface DayPayment {
  payment: Payment;
  /** Name of the patient. */
  patient: string;
  invoice_number: string;
}
/** Money that arrived and belongs to no invoice yet. */
export interface Unallocated {
  /** Names it for allocation, such as `mpesa:SGH3K2LM90`. */
  key: string;
  amount: Money;
  at: string;
  /** The invoice it came for, if one was named. */
  invoice_id?: string | null;
}
export interface LedgerLine {
  account: string;
  name: string;
  debit: Money;
  credit: Money;
  /** At the end of the day; debits positive. */
  balance: Money;
}
export interface CashierDay {
  date: string;
  by_method: { method: string; count: number; total: Money }[];
  payments: DayPayment[];
  to_collect: Invoice[];
  unallocated: Unallocated[];
  ledger: LedgerLine[];
  balanced: boolean;
}
export interface Price {
  code: string;
  display: string;
  price: Money;
  active: boolean;
  version: number;
}
export interface Specialties {
  items: Coded[];
}

export interface User {
  id: string;
  display: string;
  login?: string | null;
  phone?: string | null;
  email?: string | null;
  roles: Role[];
  patient_id?: string | null;
  practitioner_id?: string | null;
  language: string;
  disabled: boolean;
  created_at: string;
  last_login?: string | null;
}
export interface NewUser {
  display: string;
  login: string;
  phone?: string;
  email?: string;
  roles: Role[];
  language: string;
  practitioner?: {
    given: string;
    family: string;
    prefix?: string;
    specialty_codes: string[];
    languages: string[];
  };
}
export interface AuditRow {
  seq: number;
  at: string;
  /** `account/7`, `client/abc`, `system/reminders`, `anonymous`. */
  agent: string;
  agent_display: string;
  /** Role codes at that time, comma separated. */
  role: string;
  action: string;
  outcome: string;
  what: string;
  patient?: string | null;
  purpose: string;
  address?: string | null;
}
export type JobState = 'dead' | 'ready' | 'leased' | 'done';
export interface Job {
  id: string;
  queue: string;
  key: string;
  data: unknown;
  state: JobState;
  run_at: string;
  attempts: number;
  max_attempts: number;
  last_error?: string | null;
  created_at: string;
}
export type MessageState = 'queued' | 'sending' | 'sent' | 'delivered' | 'failed' | 'dead';
export interface Message {
  id: string;
  channel: string;
  to_masked: string;
  template: string;
  language: string;
  state: MessageState;
  attempts: number;
  max_attempts: number;
  cost?: string | null;
  error?: string | null;
  created_at: string;
  updated_at: string;
}
export interface Integration {
  name: string;
  healthy: boolean;
  last_ok?: string | null;
  last_error_at?: string | null;
  last_error?: string | null;
}
export interface Overview {
  appointments_today: Appointment[];
  counts: {
    patients: number;
    waiting: number;
    booked_today: number;
    dead_jobs: number;
    failed_messages: number;
  };
  version: string;
  engine: string;
}
