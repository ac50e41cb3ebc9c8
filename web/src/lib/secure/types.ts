// Short names for what administration and privacy officers read; known values stand where the document says only "string".
import type { components } from '$lib/api/schema';
import type { Role } from '$lib/api/types';

type Schemas = components['schemas'];

export type Verb = 'read' | 'create' | 'change' | 'delete';
export type Reach = 'nobody' | 'self' | 'own' | 'in-care' | 'everyone';
export type Cell = { role: Role; class: string; verb: Verb; reach: Reach; built_in: Reach; most: Reach };
export type RightsClass = Schemas['RightsClass'];
export type ChangeState = 'done' | 'waiting' | 'agreed' | 'refused';
export type RightsChange = Omit<Schemas['RightsChange'], 'verb' | 'before' | 'after' | 'state'> & {
  verb: Verb;
  before: Reach;
  after: Reach;
  state: ChangeState;
};
export type RightsTable = Omit<Schemas['RightsTable'], 'cells' | 'changes'> & { cells: Cell[]; changes: RightsChange[] };
export type Explained = Omit<Schemas['AccessExplained'], 'steps'> & { steps: ExplainStep[] };
export type ExplainStep = Omit<Schemas['AccessStep'], 'layer' | 'effect'> & {
  layer: 'role' | 'care' | 'proxy' | 'emergency' | 'seal' | 'consent' | 'status' | 'token' | 'verdict';
  effect: 'allows' | 'denies' | 'silent';
};
export type SealRule = { category: string; system: string; codes: string[] };

export type Person = Schemas['Person'];
export type Protection = Schemas['UserProtection'];
export type SessionInfo = Schemas['SessionInfo'];
export type InvitationMade = Schemas['InvitationMade'];
export type InvitationWay = Schemas['InvitationWay'];
/** `passkey_roles`: roles whose people sign in by passkey only, where the server knows of that. */
export type SecurityRules = Schemas['SecurityRules'] & { passkey_roles?: Role[] };
export type Device = Schemas['DeviceInfo'];

export type Client = Schemas['ClientInfo'];
export type NewClient = Schemas['NewClient'];
export type ClientCreated = Schemas['ClientCreated'];
export type Grant = Schemas['GrantInfo'];
export type SigningKey = Schemas['OauthKey'];

export type Attention = Schemas['Attention'];
export type AuditDetail = Schemas['AuditEntryDetail'];
export type Tree = Schemas['AuditTree'];
export type Head = Schemas['AuditTreeHead'];
export type Inclusion = Schemas['AuditInclusion'];
export type Growth = Schemas['AuditGrowth'];
export type Affected = Schemas['AffectedPatients'];

/** An outside identity provider. */
export interface Provider {
  id: string;
  name: string;
  issuer: string;
  client_id: string;
  redirect_uri: string;
  logout_uri: string;
  scopes: string[];
  creates_accounts: boolean;
  may_give_administrator: boolean;
  trusted_acr: string[];
  trusted_amr: string[];
  roles: { claim: string; value: string; role: string }[];
  accounts: number;
  last_used_at?: string | null;
  state: 'ready' | 'unknown' | 'failing';
  error?: string | null;
}
/** How somebody signs in by an outside provider. */
export interface Identity {
  id: string;
  provider_id: string;
  provider_name: string;
  subject: string;
  roles: Role[];
  created_at: string;
  last_used_at?: string | null;
}

export type RunKind = 'base' | 'drill' | 'outage' | 'restore';
export interface BackupRun {
  id: string;
  kind: RunKind;
  begun_at: string;
  ended_at: string;
  seconds: number;
  is_good: boolean;
  /** `schedule` or a name. */
  by: string;
  bytes?: number | null;
  sent_bytes?: number | null;
  files?: number | null;
  until?: string | null;
  checks: { name: string; is_good: boolean; detail?: string | null }[];
  problems: string[];
}
export interface BackupPolicy {
  base_hours: number;
  keep_instant_days: number;
  keep_daily_days: number;
  keep_weekly_weeks: number;
  drill_hours: number;
  drill_alarm_days: number;
}
export interface BackupTarget {
  place: string;
  kind: 'folder' | 'sftp' | 's3' | 'archive';
  until?: string | null;
  lag_seconds?: number | null;
  waiting_bytes: number;
  error?: string | null;
}
export interface BackupState {
  engine: 'sqlite' | 'postgres';
  enabled: boolean;
  targets: BackupTarget[];
  last_base?: BackupRun | null;
  last_drill?: BackupRun | null;
  last_good_drill_at?: string | null;
  next_base_at?: string | null;
  next_drill_at?: string | null;
  running?: { kind: RunKind; begun_at: string; doing: string; done_bytes: number; total_bytes: number; by: string } | null;
  policy: BackupPolicy;
  policy_default: BackupPolicy;
  alarms: string[];
  recent: BackupRun[];
}
