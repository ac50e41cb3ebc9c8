// Short names for the shapes of the API, which are generated from docs/openapi.json (`npm run api-types`).
// Where the document says only "string", the known values stand here.
import type { components } from './schema';

type Schemas = components['schemas'];

export type Money = Schemas['Money'];
export interface Page<T> {
  items: T[];
  next?: string | null;
  total?: number | null;
}
export type Role = Schemas['RoleName'];
export type Me = Schemas['Me'];
/** A session that has just begun. */
export type Opened = Schemas['Session'];
export type SecondFactorNeeded = Schemas['SecondFactorNeeded'];
export type SessionFacts = Schemas['SessionState'] & {
  /** Only a passkey is enough for this person's role. */
  passkey_needed?: boolean;
  /** The outside provider that said who she is. */
  provider_id?: string | null;
  idle_limit_s?: number;
  left_s?: number;
};
export type SessionRow = Schemas['SessionInfo'];
export type AccountSecurity = Schemas['AccountSecurity'];
export type Passkey = Schemas['PasskeyInfo'];
export type SharedDevice = Schemas['SharedDevice'];
export type LinkInfo = Schemas['LinkInfo'];
export type Registration = Schemas['RegistrationBegun'];

export type Kind = Schemas['Kind'];
export type Coded = Schemas['Coded'];
export type ProviderName = Schemas['ProviderName'];
export type Provider = Schemas['Provider'];
export type ProviderRef = Schemas['ProviderRef'];
export type Slot = Pick<Schemas['FreeSlot'], 'start' | 'end'>;
export type Availability = Schemas['Availability'];
export type Weekday = Schemas['Day'];
export type KindSchedule = Schemas['KindSchedule'];
export type Schedule = Schemas['ProviderSchedule'];

export type PersonName = Schemas['PersonName'];
export type PatientRef = Schemas['PatientRef'];
export type PatientRow = Schemas['PatientRow'];
export type Candidate = Schemas['DuplicateCandidate'];
export type Patient = Schemas['Patient'];
export type DuplicateTask = Schemas['DuplicateReview'];

export type AppointmentStatus = Schemas['AppointmentStatus'];
export type Appointment = Schemas['Appointment'];
export type ConsultationState = Schemas['ConsultationState'];
export type Consultation = Schemas['Consultation'];
export type JoinGrant = Schemas['JoinGrant'];
export type DeviceCheck = Schemas['DeviceCheck'];

export type Allergy = Schemas['Allergy'];
export type Problem = Schemas['ClinicalProblem'];
export type Medication = Schemas['CurrentMedicine'];
export type Vital = Schemas['Vital'];
export type VisitSummary = Schemas['VisitSummary'];
export type Chart = Schemas['Chart'];
export type AccessRow = Schemas['Sighting'];

export type Diagnosis = Schemas['SystemCode'];
export type Note = Schemas['Note'];
export type Vitals = Schemas['Vitals'];
export type VitalCode = keyof Schemas['VitalsInput'];
export type Medicine = Schemas['Medicine'];
export type Frequency = Schemas['FrequencyCode'];
export type RxItem = Schemas['RxItem'];
export type AllergyWarning = Schemas['AllergyWarning'];
export type Prescription = Schemas['Prescription'];
export type Verification = Schemas['Verification'];

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
export type Payment = Omit<Schemas['PaymentView'], 'method' | 'state' | 'reason'> & {
  method: 'mpesa' | 'cash';
  state: PaymentState;
  reason?: PaymentReason | null;
};
export type Invoice = Omit<Schemas['InvoiceView'], 'payments'> & { payments: Payment[] };
