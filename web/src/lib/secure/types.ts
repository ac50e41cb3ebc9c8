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
export type AccountChange = Schemas['AccountChange'];
export type ApplicationChange = Schemas['ApplicationChange'];
export type AccountChangeCollected = Schemas['AccountChangeCollected'];
export type SecurityRules = Schemas['SecurityRules'];
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

export type Provider = Schemas['IdentityProviderInfo'];
/** How somebody signs in by an outside provider. */
export type Identity = Schemas['IdentityInfo'];

export type RunKind = Schemas['BackupKind'];
export type BackupRun = Schemas['BackupRun'];
export type BackupPolicy = Schemas['BackupPolicy'];
export type BackupTarget = Schemas['BackupTarget'];
export type BackupState = Schemas['BackupState'];
