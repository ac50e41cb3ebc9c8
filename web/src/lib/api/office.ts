// Short names for what the cashier and the administration read beside the shapes in `types.ts`.
import type { components } from './schema';
import type { Payment } from './types';

type Schemas = components['schemas'];

export type DayPayment = Omit<Schemas['DayPayment'], 'payment'> & { payment: Payment };
export type CashierDay = Omit<Schemas['CashierDay'], 'payments' | 'to_collect'> & {
  payments: DayPayment[];
  to_collect: (Omit<Schemas['InvoiceView'], 'payments'> & { payments: Payment[] })[];
};
export type Unallocated = Schemas['Unallocated'];
export type LedgerLine = Schemas['LedgerLine'];
export type Price = Schemas['Price'];

export type User = Schemas['UserRow'];
export type NewUser = Schemas['NewUser'];
export type UserCreated = Schemas['UserCreated'];
export type PasswordReset = Schemas['PasswordResetMade'];
export type AuditRow = Schemas['AuditEntry'];
export type JobState = 'dead' | 'ready' | 'leased' | 'done';
export type Job = Omit<Schemas['JobRow'], 'state' | 'data'> & { state: JobState; data: unknown };
export type Labelling = Schemas['Labelling'];
export type MessageState = Schemas['MessageState'];
export type Message = Schemas['MessageRow'];
export type Integration = Schemas['Integration'];
export type Overview = Schemas['Overview'];
