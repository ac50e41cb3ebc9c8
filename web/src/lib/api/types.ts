// The shapes of /api/v1 that the screens use. Instants are RFC 3339 in UTC, dates `YYYY-MM-DD`,
// money is in minor units of its currency.

export interface Money {
  amount_minor: number;
  currency: string;
}
export interface Page<T> {
  items: T[];
  next?: string | null;
  total?: number;
}
export type Role =
  | 'patient'
  | 'proxy'
  | 'doctor'
  | 'nurse'
  | 'front-desk'
  | 'lab'
  | 'pharmacist'
  | 'cashier'
  | 'administrator'
  | 'privacy-officer'
  | 'it'
  | 'integration';
export interface Me {
  account_id: string;
  display: string;
  given?: string;
  family?: string;
  roles: Role[];
  patient_id?: string | null;
  practitioner_id?: string | null;
  phone?: string | null;
  language: string;
  timezone: string;
  clinic: { name: string; phone?: string | null; currency: string; paybill?: string | null };
}
export interface Session {
  user: Me;
  expires_at: string;
  idle_expires_at: string;
}
export interface Registration {
  registration_id: string;
  phone_masked: string;
  expires_at: string;
  resend_after_s: number;
}

export type Kind = 'video' | 'in-person';
export interface Coded {
  code: string;
  display: string;
}
export interface ProviderName {
  given: string;
  family: string;
  prefix?: string | null;
}
export interface Provider {
  id: string;
  name: ProviderName;
  specialties: Coded[];
  languages: string[];
  kinds: Kind[];
  photo_url?: string | null;
  next_free?: { kind: Kind; start: string }[] | null;
  fee: { video?: Money | null; in_person?: Money | null };
}
export interface Slot {
  start: string;
  end: string;
}
export interface Availability {
  timezone: string;
  slot_minutes: number;
  days: { date: string; slots: Slot[] }[];
}
export type Weekday = 'mon' | 'tue' | 'wed' | 'thu' | 'fri' | 'sat' | 'sun';
export interface WeeklyHours {
  day: Weekday;
  start: string;
  end: string;
}
export interface ScheduleException {
  date: string;
  start?: string | null;
  end?: string | null;
  available: boolean;
  note?: string | null;
}
export interface KindSchedule {
  slot_minutes: number;
  lead_minutes: number;
  weekly: WeeklyHours[];
  exceptions: ScheduleException[];
}
export interface Schedule {
  kinds: Partial<Record<Kind, KindSchedule>>;
  version?: number;
}

export type Sex = 'female' | 'male' | 'other' | 'unknown';
export interface PersonName {
  given: string;
  family: string;
}
export interface PatientRef {
  id: string;
  name: PersonName;
  sex: Sex;
  birth_date: string;
  record_number: string;
}
export interface PatientRow extends PatientRef {
  phone?: string | null;
  possible_duplicate?: boolean;
}
export interface Candidate extends PatientRow {
  score: number;
}
export interface NextOfKin {
  name: string;
  phone?: string | null;
  relationship?: string | null;
}
export interface Patient extends PatientRef {
  version: number;
  phone?: string | null;
  email?: string | null;
  language?: string | null;
  address?: { county?: string | null; town?: string | null } | null;
  next_of_kin?: NextOfKin | null;
  identifiers?: { system: string; value: string; label?: string | null }[];
  account?: boolean;
}

export type AppointmentStatus =
  | 'booked'
  | 'arrived'
  | 'in-progress'
  | 'fulfilled'
  | 'cancelled'
  | 'noshow';
export interface ProviderRef {
  id: string;
  name: ProviderName | string;
}
export interface Appointment {
  id: string;
  version: number;
  status: AppointmentStatus;
  kind: Kind;
  start: string;
  end: string;
  reason: string;
  patient: PatientRef;
  provider: ProviderRef;
  consultation_id?: string | null;
  fee: Money;
  created_at: string;
  cancel_reason?: string | null;
  payment_status?: 'none' | 'due' | 'paid' | null;
  device_checked: boolean;
  waiting_since?: string | null;
}

export type ConsultationState = 'waiting' | 'active' | 'ended' | 'finished' | 'cancelled';
export interface Quality {
  rtt_ms?: number | null;
  loss_percent?: number | string | null;
  bitrate_up_kbps?: number | null;
  bitrate_down_kbps?: number | null;
  path: 'direct' | 'relay' | 'unknown';
  frozen_ms?: number | null;
  level: 'good' | 'fair' | 'poor';
}
export interface Consultation {
  id: string;
  version: number;
  appointment_id: string;
  kind: Kind;
  state: ConsultationState;
  patient: PatientRef;
  provider: ProviderRef;
  waiting_since?: string | null;
  admitted_at?: string | null;
  started_at?: string | null;
  ended_at?: string | null;
  position?: number | null;
  note_id?: string | null;
  invoice_id?: string | null;
}
export interface JoinGrant {
  session_token: string;
  ws_url: string;
  ice_servers: { urls: string[]; username?: string; credential?: string }[];
  expires_at: string;
  ice_transport_policy?: 'relay' | 'all' | null;
}
export interface DeviceCheck {
  camera: boolean;
  microphone: boolean;
  relay: boolean;
  audio_only: boolean;
}

export interface Allergy {
  id: string;
  text: string;
  code?: string | null;
  reaction?: string | null;
  criticality: 'low' | 'high' | 'unable-to-assess';
  status: string;
  recorded_at: string;
}
export interface Problem {
  id: string;
  code: string;
  system?: string;
  display: string;
  status: string;
  onset?: string | null;
  recorded_at: string;
}
export interface Medication extends RxItem {
  id?: string;
  status?: string;
  prescribed_at?: string | null;
  prescription_id?: string | null;
}
export interface Vital {
  code: string;
  display: string;
  value: string;
  unit: string;
  at: string;
  flag?: 'L' | 'H' | 'LL' | 'HH' | null;
  previous?: { value: string; at: string } | null;
  series?: { at: string; value: string }[];
}
export interface VisitSummary {
  consultation_id: string;
  date: string;
  provider: ProviderRef;
  kind: Kind;
  state: ConsultationState;
  reason?: string | null;
  diagnoses: Coded[];
  note_id?: string | null;
  prescription_id?: string | null;
  invoice_id?: string | null;
}
export interface DocRef {
  id: string;
  title?: string | null;
  type?: string | null;
  date?: string | null;
  url?: string | null;
  content_type?: string | null;
}
export interface Chart {
  patient: Patient;
  allergies: { recorded: 'none-known' | 'not-recorded' | 'listed'; items: Allergy[] };
  problems: Problem[];
  medications: Medication[];
  vitals: Vital[];
  visits: VisitSummary[];
  documents: DocRef[];
}
export interface AccessRow {
  at: string;
  agent: string;
  role: string;
  action: string;
  what: string;
  purpose?: string | null;
}
export interface DuplicateTask {
  task_id: string;
  new: PatientRow;
  candidates: Candidate[];
  created_at: string;
}

export interface Diagnosis {
  code: string;
  display: string;
  system: string;
}
export interface Note {
  id?: string | null;
  version: number;
  status: 'draft' | 'signed' | 'amended';
  reason: string;
  findings: string;
  assessment: string;
  diagnoses: Diagnosis[];
  plan: string;
  follow_up?: string | null;
  author?: string | null;
  updated_at?: string | null;
  signed_at?: string | null;
}
export interface Vitals {
  items: Vital[];
  bmi?: string | null;
}
export type VitalCode =
  | 'systolic'
  | 'diastolic'
  | 'pulse'
  | 'temperature'
  | 'respiratory_rate'
  | 'spo2'
  | 'weight'
  | 'height';
export interface Medicine {
  id: string;
  name: string;
  form: string;
  strengths: string[];
  routes: string[];
  usual?: { dose?: string | null; frequency?: Frequency | null; duration_days?: number | null } | null;
}
export type Frequency = 'OD' | 'BD' | 'TDS' | 'QDS' | 'PRN' | 'STAT' | 'NOCTE';
export interface RxItem {
  medicine_id?: string | null;
  name: string;
  form: string;
  dose: string;
  route: string;
  frequency_code: Frequency;
  frequency_text: string;
  duration_days: number;
  quantity?: string | null;
  instructions?: string | null;
  refills: number;
}
export interface Prescription {
  id?: string | null;
  version: number;
  status: 'draft' | 'signed';
  items: RxItem[];
  prescriber?: string | null;
  patient?: PatientRef | null;
  signed_at?: string | null;
  verify_url?: string | null;
}
export interface Verification {
  valid: boolean;
  status: string;
  issued_at?: string | null;
  prescriber?: string | null;
  clinic?: string | null;
  patient_initials?: string | null;
  items: string[];
}

export type PaymentState =
  | 'created'
  | 'submitting'
  | 'awaiting'
  | 'paid'
  | 'failed'
  | 'expired'
  | 'cancelled'
  | 'unknown';
export type PaymentReason =
  | 'wrong-pin'
  | 'cancelled-by-user'
  | 'timeout'
  | 'insufficient-funds'
  | 'limit-exceeded'
  | 'unreachable'
  | 'busy'
  | 'amount-differs'
  | 'needs-review'
  | 'provider-down';
export interface Payment {
  id: string;
  invoice_id: string;
  method: 'mpesa' | 'cash';
  amount: Money;
  phone_masked?: string | null;
  state: PaymentState;
  reason?: PaymentReason | null;
  receipt_number?: string | null;
  created_at: string;
  updated_at: string;
  can_retry: boolean;
  fallback?: { paybill: string; account: string } | null;
}
export interface Invoice {
  id: string;
  version: number;
  number: string;
  status: 'issued' | 'balanced' | 'cancelled';
  patient: { id: string; display: string };
  consultation_id?: string | null;
  lines: { code: string; display: string; quantity: number; unit_price: Money; amount: Money }[];
  total: Money;
  paid: Money;
  due: Money;
  issued_at: string;
  payments: Payment[];
}
