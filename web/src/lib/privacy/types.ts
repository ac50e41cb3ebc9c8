// Short names for the shapes of the privacy routes.
import type { components } from '$lib/api/schema';

type Schemas = components['schemas'];

export type DataRequest = Schemas['DataRequest'];
export type DataReport = Schemas['DataReport'];
export type PortableCopy = Schemas['PortableCopy'];
export type RecordEntry = Schemas['RecordEntry'];
export type EntryStatement = Schemas['EntryStatement'];
export type LegalHold = Schemas['LegalHold'];
export type RetentionRule = Schemas['RetentionRule'];
export type RetentionRules = Schemas['RetentionRules'];
export type RetentionDue = Schemas['RetentionDue'];
export type DataRecipient = Schemas['DataRecipient'];
export type DataRecipients = Schemas['DataRecipients'];
export type RegionState = Schemas['RegionState'];
export type ErasureWaiting = Schemas['ErasureWaiting'];
export type ErasureList = Schemas['TombstoneList'];
export type Obstacle = Schemas['ErasureObstacle'];
export interface Items<T> {
  items: T[];
}
