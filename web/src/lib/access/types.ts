// Short names for what people's rights are shown from; generated shapes as in `api/types.ts`.
import type { components } from '$lib/api/schema';

type Schemas = components['schemas'];

export type Authorization = Schemas['Authorization'];
export type Grant = Schemas['GrantInfo'];
export type Launchable = Schemas['Launchable'];
export type Launch = Schemas['Launch'];
export type Emergency = Schemas['EmergencyAccess'];
export type Consent = Schemas['ConsentSummary'];
export type ConsentGiven = Schemas['ConsentGiven'];
export type Proxy = Schemas['ProxyRow'];
export type ProxyGrant = Schemas['ProxyGrant'];
export type Sighting = Schemas['Sighting'];
