export { Call, type CallOptions } from './call';
export { policyWish } from './relay';
export type { CallState, ChatEntry, PeerView, Phase } from './state';
export { checkCamera, checkRelay, type RelayResult } from './check';
export { LocalMedia, listDevices, meter, problemOf, type Devices, type MediaProblem } from './media';
export type { FrameHooks } from './link';
export type { IceServer, JoinGrant, Level, Quality, Role } from './protocol';
export { WORDS, wordsIn, type Words } from './words';
