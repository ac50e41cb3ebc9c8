// A call from joining to its end. Framework-free: it owns signalling, media and the connection, and tells whoever
// subscribes what there is to show.

import { Conversation } from './conversation';
import { FIRST_VIDEO_RUNG, Ladder, RUNGS } from './ladder';
import { Link, type FrameHooks } from './link';
import { LocalMedia, listDevices } from './media';
import { Meter } from './meter';
import { shouldRestart } from './negotiation';
import { onNetworkChange } from './network';
import type { Hello, IceServer, JoinGrant, MediaState, Peer, Quality, ServerMessage } from './protocol';
import { StallWatch, read, worse, type Counters } from './quality';
import { Relay } from './relay';
import { Signalling, type ClosedReason } from './signalling';
import { EMPTY_STATE, isOver, type CallState, type OverPhase, type PeerView } from './state';
import { Wake } from './wake';

const WATCH_MS = 500;
const QUALITY_MS = 2000;
/** Without a connection for this long although both sides are there, the offering side begins anew. */
const RENEW_MS = 12_000;
/** After an interruption the sender's estimate speaks of the interruption, not of the link. */
const LADDER_REST_MS = 3000;
/** A pause that is more than the spacing of packets: perhaps an interruption, so the ladder waits. */
const PAUSE_MS = 600;
/** A peer whose signalling and media have both been gone for this long has left. */
const PEER_AWAY_MS = 35_000;

export interface CallOptions {
  /** `POST consultations/{id}/join`; called again when the session is lost. */
  join(): Promise<JoinGrant>;
  /** `GET turn-credentials`. */
  refreshIce?(): Promise<IceServer[]>;
  /** `POST consultations/{id}/quality`, every 30 seconds and at the end. */
  reportQuality?(quality: Quality): unknown;
  /** Is an error of `join` final (no right, visit over) rather than a bad network? */
  isFinal?(error: unknown): boolean;
  audioOnly?: boolean;
  /** Devices already open from the pre-call check. */
  media?: LocalMedia;
  hooks?: FrameHooks;
  /** `ws://host`; that of the page when left out. */
  base?: string;
}

export class Call {
  state: CallState = EMPTY_STATE;
  readonly media: LocalMedia;
  readonly instance = crypto.randomUUID();
  #options: CallOptions;
  #listeners = new Set<(state: CallState) => void>();
  #signalling: Signalling | undefined;
  #link: Link | undefined;
  #relay: Relay;
  #meter: Meter;
  #conversation = new Conversation();
  #wake = new Wake();
  #self = '';
  #polite = true;
  #peer: { participant: string; instance: string } | undefined;
  #others = new Map<string, Peer>();
  #ladder = new Ladder();
  #stall = new StallWatch();
  #troubleAt: number | undefined;
  #awaySince: number | undefined;
  #interruptedAt: number | undefined;
  #lastStep: Counters | undefined;
  #timers: number[] = [];
  #undo: (() => void)[] = [];
  #watching = false;

  constructor(options: CallOptions) {
    this.#options = options;
    this.#relay = new Relay(options.refreshIce);
    this.#meter = new Meter(options.reportQuality);
    this.media = options.media ?? new LocalMedia();
    this.#set({ audioOnly: options.audioOnly ?? false });
  }

  /** Calls back at once and on every change; returns how to stop. */
  subscribe(listener: (state: CallState) => void): () => void {
    this.#listeners.add(listener);
    listener(this.state);
    return () => this.#listeners.delete(listener);
  }

  /** Joins: opens devices (a refusal is no obstacle) and the signalling. */
  async start(): Promise<void> {
    if (this.state.phase !== 'idle') return;
    this.#set({ phase: 'joining' });
    this.media.onchange = () => void this.#mediaChanged();
    const devices = this.media.start(this.state.audioOnly).then(() => this.#mediaChanged());
    try {
      const grant = await this.#join();
      this.#signalling = new Signalling({
        grant,
        instance: this.instance,
        base: this.#options.base,
        rejoin: () => this.#join(),
        isFinal: this.#options.isFinal,
        events: {
          hello: (hello) => this.#hello(hello),
          message: (message) => this.#message(message),
          status: (signalling) => this.#set({ signalling }),
          closed: (reason, error) => this.#closed(reason, error),
          refusal: (_code, seq) => this.#refused(seq)
        }
      });
    } catch (error) {
      return this.#finish('failed', error);
    }
    this.#listen();
    this.#signalling.start();
    await devices;
  }

  async #join(): Promise<JoinGrant> {
    const grant = await this.#options.join();
    this.#relay.granted(grant);
    return grant;
  }

  #listen(): void {
    const every = (ms: number, step: () => void) => this.#timers.push(setInterval(step, ms) as unknown as number);
    every(WATCH_MS, () => void this.#watch());
    every(QUALITY_MS, () => void this.#measure());
    const on = (target: EventTarget | undefined | null, type: string, handler: () => void) => {
      target?.addEventListener(type, handler);
      this.#undo.push(() => target?.removeEventListener(type, handler));
    };
    this.#undo.push(onNetworkChange(() => this.#networkChanged()));
    on(navigator.mediaDevices, 'devicechange', () => void this.#listDevices());
    on(document, 'visibilitychange', () => void this.#wake.hold(this.#isOpen));
    // Leaving the page says so, instead of letting the other side wait out the grace period.
    on(window, 'pagehide', () => this.leave());
  }

  // ---- Signalling ----

  #hello(hello: Hello): void {
    this.#self = hello.participant;
    this.#polite = hello.polite;
    this.#set({
      role: hello.role,
      position: hello.position ?? null,
      admittedAt: hello.admitted_at ?? this.state.admittedAt,
      chat: this.#conversation.greeted(this.state.chat, hello.chat, this.#self)
    });
    const counterparts = hello.peers.filter((one) => this.#isCounterpart(one));
    const peer = counterparts.find((one) => one.instance === this.#peer?.instance) ?? counterparts[0];
    // A session that continues without a gap needs no news of the peer: what was missed follows.
    if (!hello.resumed || hello.reset) {
      this.#told = '';
      this.#others = new Map(counterparts.filter((one) => one !== peer).map((one) => [one.participant, one]));
      if (peer) this.#peerIs(peer);
      // After a restart of the server the peer's page comes back a moment later; what flows meanwhile must not be cut.
      else if (this.#link) this.#setPeer({ connected: false });
      this.#tellMedia();
      if (hello.reset) this.#link?.restart();
    }
    if (hello.state === 'active') this.#admitted(hello.admitted_at ?? null);
    else if (this.state.phase === 'joining') this.#set({ phase: 'waiting' });
  }

  #message(message: ServerMessage): void {
    switch (message.type) {
      case 'peer_joined':
        return this.#joined(message.data);
      case 'peer_state':
        if (message.data.participant === this.#peer?.participant) this.#setPeer({ connected: message.data.connected });
        return;
      case 'peer_left':
        return this.#left(message.data.participant, message.data.reason === 'put_out');
      case 'waiting':
        return this.#set({ position: message.data.position });
      case 'admitted':
        return this.#admitted(message.data.at);
      case 'offer':
      case 'answer':
        if (this.#fromPeer(message.data)) void this.#link?.describe(message.type, message.data);
        return;
      case 'candidate':
        if (this.#fromPeer(message.data)) void this.#link?.addCandidate(message.data);
        return;
      case 'ice_restart':
        if (!this.#fromPeer(message.data) || !this.#link) return;
        if (message.data.reason === 'renew' && !this.#polite) this.#link.renew();
        else this.#link.restart();
        return;
      case 'media_state': {
        if (!this.#fromPeer(message.data)) return;
        const { audio, video, screen } = message.data;
        return this.#setPeer({ media: { audio, video, screen } });
      }
      case 'quality': {
        const { from: _, ...peer } = message.data;
        return this.#set({ quality: { ...this.state.quality, peer } });
      }
      case 'chat':
        return this.#set(this.#conversation.arrived(this.state, message.data, this.#self));
      case 'ended':
        return this.#finish('ended', undefined, message.data.at);
    }
  }

  /** A call has two ends: patient and clinician. Others in the room read and write only. */
  #isCounterpart(peer: Peer): boolean {
    return this.#polite ? peer.role === 'clinician' : peer.role === 'patient';
  }

  #joined(peer: Peer): void {
    if (!this.#isCounterpart(peer)) return;
    const current = this.#peer;
    const same = current?.participant === peer.participant || current?.instance === peer.instance;
    // A second clinician does not take the call from the first; she gets it when the first leaves.
    if (current && !same && this.state.peer?.connected) this.#others.set(peer.participant, peer);
    else this.#peerIs(peer);
  }

  #left(participant: string, putOut: boolean): void {
    this.#others.delete(participant);
    if (participant !== this.#peer?.participant) return;
    const name = this.state.peer?.display ?? '';
    this.#peerGone();
    if (putOut) this.#set({ putOut: name });
    const [next] = this.#others.values();
    if (!next) return;
    this.#others.delete(next.participant);
    this.#peerIs(next);
    if (this.#polite) this.#askRenewal();
  }

  #fromPeer(data: { from: string }): boolean {
    return data.from === this.#peer?.participant;
  }

  #peerIs(peer: Peer): void {
    const { participant, instance, display, role, connected, media } = peer;
    // A restarted server counts participants anew; the page is what the connection belongs to.
    const same = this.#peer?.instance === instance;
    this.#peer = { participant, instance };
    this.#awaySince = connected ? undefined : Date.now();
    this.#set({ peer: { display, role, connected, media }, putOut: null });
    if (same && this.#link) {
      if (this.#link.connectionState !== 'connected') this.#link.restart();
    } else {
      this.#openLink();
    }
    // Somebody who has just come does not know what we send.
    this.#tellMedia();
  }

  #peerGone(): void {
    this.#peer = this.#awaySince = undefined;
    this.#link?.close();
    this.#link = undefined;
    this.#stall.rest();
    this.#troubleAt = undefined;
    const phase = this.state.phase === 'active' || this.state.phase === 'reconnecting' ? 'connecting' : this.state.phase;
    this.#set({ peer: null, remoteStream: null, phase });
  }

  #setPeer(change: Partial<PeerView>): void {
    if (change.connected !== undefined) this.#awaySince = change.connected ? undefined : (this.#awaySince ?? Date.now());
    if (this.state.peer) this.#set({ peer: { ...this.state.peer, ...change } });
  }

  #admitted(at: string | null): void {
    const { phase } = this.state;
    this.#set({ admittedAt: at ?? this.state.admittedAt ?? new Date().toISOString(), position: null });
    if (phase === 'joining' || phase === 'waiting') {
      const connected = this.#link?.connectionState === 'connected';
      this.#set({ phase: connected ? 'active' : 'connecting' });
    }
    void this.#attach();
    void this.#wake.hold(this.#isOpen);
  }

  #closed(reason: ClosedReason, error: unknown): void {
    if (reason === 'refused') this.#finish('failed', error);
    else this.#finish(reason);
  }

  // ---- The connection ----

  #openLink(): void {
    this.#link?.close();
    this.#stall.rest();
    this.#lastStep = undefined;
    this.#meter.restart();
    const link = new Link({
      polite: this.#polite,
      iceServers: this.#relay.servers,
      policy: this.#relay.policy,
      hooks: this.#options.hooks,
      send: (type, data) => this.#signalling?.send(type, { ...data, to: this.#peer?.participant }),
      candidate: (candidate) => this.#signalling?.send('candidate', { ...candidate, to: this.#peer?.participant }),
      stream: (stream) => this.#set({ remoteStream: stream }),
      state: (state) => this.#connectionChanged(link, state),
      lost: () => this.#askRenewal()
    });
    this.#link = link;
    this.#set({ remoteStream: null });
    void link.setRung(RUNGS[this.#ladder.rung]!);
    if (this.#isOpen()) void this.#attach();
  }

  #askRenewal(): void {
    this.#signalling?.send('ice_restart', { reason: 'renew', to: this.#peer?.participant });
  }

  /** Whether media may flow. */
  #isOpen = (): boolean => this.state.admittedAt !== null && !this.#isOver();

  #isOver(): boolean {
    return isOver(this.state.phase);
  }

  #connectionChanged(link: Link, state: RTCPeerConnectionState): void {
    if (link !== this.#link) return;
    if (state === 'connected') {
      this.#troubleAt = undefined;
      if (this.#isOpen()) this.#set({ phase: 'active' });
    } else if (state === 'failed' || state === 'disconnected') {
      this.#trouble(Date.now());
      if (state === 'failed') void this.#repair(Date.now());
    }
  }

  /** Notes that media does not arrive; the watch repairs it. */
  #trouble(since: number): void {
    if (this.#troubleAt === undefined) {
      this.#troubleAt = since;
      this.#signalling?.probe();
    }
    this.#interruptedAt = Date.now();
    if (this.state.phase === 'active') this.#set({ phase: 'reconnecting' });
  }

  #networkChanged(): void {
    if (this.#isOver()) return;
    this.#signalling?.reconnect();
    if (this.#link && this.#link.connectionState !== 'new') {
      this.#trouble(Date.now());
      void this.#restart();
    }
  }

  async #watch(): Promise<void> {
    const link = this.#link;
    if (this.#awaySince !== undefined && Date.now() - this.#awaySince > PEER_AWAY_MS && link?.connectionState !== 'connected') {
      return this.#peerGone();
    }
    // A browser under load may take longer than the interval for its statistics.
    if (!link || this.#isOver() || this.#watching) return;
    this.#watching = true;
    try {
      const now = Date.now();
      const counters = read(await link.connection.getStats(), now);
      if (link !== this.#link) return;
      const silent = this.#isOpen() ? this.#stall.sample(now, counters.packetsReceivedTransport, counters.rttMs ?? 0) : 0;
      const connected = link.connectionState === 'connected';
      if (silent > 0) this.#trouble(now - silent);
      else if (connected) {
        this.#troubleAt = undefined;
        if (this.#isOpen() && this.state.phase !== 'active') this.#set({ phase: 'active' });
      } else if (this.state.peer?.connected && now - Math.max(link.openedAt, link.restartedAt ?? 0) > RENEW_MS) {
        // It never came about: the exchange got lost somewhere.
        this.#trouble(link.openedAt);
      }
      if (this.#troubleAt !== undefined) await this.#repair(now);
      this.#step(counters);
    } catch {
      // The connection was closed meanwhile.
    } finally {
      this.#watching = false;
    }
  }

  async #repair(now: number): Promise<void> {
    const link = this.#link;
    if (!link || this.#troubleAt === undefined) return;
    if (!this.#polite && now - this.#troubleAt > RENEW_MS && now - (link.restartedAt ?? 0) > RENEW_MS / 2) {
      // Restarts have not helped; perhaps the two sides no longer mean the same connection.
      return link.renew();
    }
    const restart = shouldRestart({
      polite: this.#polite,
      now,
      troubleAt: this.#troubleAt,
      restartedAt: link.restartedAt,
      peerConnected: this.state.peer?.connected ?? false
    });
    if (restart) await this.#restart();
  }

  async #restart(): Promise<void> {
    const link = this.#link;
    if (!link) return;
    link.restartedAt = Date.now();
    void this.#relay.renew((servers) => this.#link?.setIceServers(servers));
    link.restart();
  }

  /** Moves along the ladder. */
  #step(counters: Counters): void {
    const before = this.#lastStep;
    this.#lastStep = counters;
    if (!before || this.state.phase !== 'active' || counters.bytesSent < before.bytesSent) return;
    if (this.#troubleAt !== undefined || this.#stall.silence(counters.at) > PAUSE_MS) this.#interruptedAt = counters.at;
    if (this.#interruptedAt !== undefined && counters.at - this.#interruptedAt < LADDER_REST_MS) return;
    const sent = ((counters.bytesSent - before.bytesSent) * 8000) / (counters.at - before.at);
    if (counters.processorLimited && this.#ladder.rung > FIRST_VIDEO_RUNG + 1) this.#ladder.limit(this.#ladder.rung - 1);
    const rung = this.#ladder.sample({
      at: counters.at,
      available: counters.availableOutgoing,
      lossPercent: counters.lossReportedAt === before.lossReportedAt ? undefined : counters.lossReportedPercent,
      rttMs: counters.rttMs ?? 0,
      sent
    });
    if (rung === this.state.rung) return;
    this.#set({ rung });
    void this.#link?.setRung(RUNGS[rung]!);
    this.#tellMedia();
  }

  async #measure(): Promise<void> {
    const link = this.#link;
    if (!link || !this.#isOpen() || link.connectionState === 'new') return;
    let counters: Counters;
    try {
      counters = read(await link.connection.getStats(), Date.now());
    } catch {
      return;
    }
    const figures = this.#meter.sample(counters, this.#troubleAt !== undefined);
    if (!figures) return;
    const { own, tell } = figures;
    const level = worse(own.level, this.state.quality.peer?.level);
    this.#set({ quality: { ...this.state.quality, own, level } });
    if (tell) this.#signalling?.send('quality', own);
  }

  // ---- Media ----

  /** Puts the tracks that are on into the senders. Before admission nothing is sent. */
  async #attach(): Promise<void> {
    const link = this.#link;
    if (!link || !this.#isOpen()) return;
    const picture = this.media.screen ?? this.media.camera;
    await Promise.all([
      link.setTrack('audio', this.media.microphone),
      link.setTrack('video', picture, this.media.screen !== null)
    ]);
  }

  async #mediaChanged(): Promise<void> {
    const { microphone, camera, screen, problems, choice } = this.media;
    if (microphone) microphone.enabled = !this.state.muted;
    const tracks = [camera, microphone].filter((track) => track !== null);
    const old = this.state.localStream?.getTracks() ?? [];
    const same = old.length === tracks.length && tracks.every((track) => old.includes(track));
    this.#set({
      cameraOn: camera !== null,
      sharing: screen !== null,
      problems: { ...problems },
      speaker: choice.speaker,
      localStream: same ? this.state.localStream : tracks.length > 0 ? new MediaStream(tracks) : null
    });
    void this.#listDevices();
    await this.#attach();
    this.#tellMedia();
  }

  #told = '';
  #tellMedia(): void {
    const held = RUNGS[this.#ladder.rung]!.video === null;
    const media: MediaState = {
      audio: this.media.microphone !== null && !this.state.muted,
      video: this.media.screen !== null || (this.media.camera !== null && !held),
      screen: this.media.screen !== null
    };
    this.#set({ pictureHeldBack: held && this.media.camera !== null, rung: this.#ladder.rung });
    if (!this.#signalling || !this.#peer) return;
    const told = JSON.stringify([media, this.#peer]);
    if (told === this.#told) return;
    this.#told = told;
    this.#signalling.send('media_state', media);
  }

  async #listDevices(): Promise<void> {
    this.#set({ devices: await listDevices() });
  }

  setMuted(muted: boolean): void {
    if (this.media.microphone) this.media.microphone.enabled = !muted;
    this.#set({ muted });
    this.#tellMedia();
    // Somebody who had refused the microphone and now wants to speak.
    if (!muted && !this.media.microphone) void this.media.openMicrophone();
  }

  async setCamera(on: boolean): Promise<void> {
    if (on) {
      this.#set({ audioOnly: false });
      await this.media.openCamera();
    } else {
      this.media.closeCamera();
    }
  }

  /** No picture in either direction: for thin links and costly data. */
  async setAudioOnly(audioOnly: boolean): Promise<void> {
    this.#set({ audioOnly });
    await this.setCamera(!audioOnly);
    if (audioOnly) this.media.closeScreen();
  }

  async shareScreen(): Promise<void> {
    await this.media.openScreen();
  }

  stopSharing(): void {
    this.media.closeScreen();
  }

  async chooseDevice(kind: 'camera' | 'microphone' | 'speaker', device: string): Promise<void> {
    await this.media.choose(kind, device);
    this.#set({ speaker: this.media.choice.speaker });
  }

  /** Throws the connection away and builds a new one; for people who see that something hangs. */
  reconnect(): void {
    if (this.#isOver()) return;
    this.#signalling?.reconnect();
    if (!this.#link) return;
    this.#trouble(Date.now());
    if (this.#polite) this.#askRenewal();
    else this.#link.renew();
  }

  /** Tries devices again that were refused or missing. */
  async retryDevices(): Promise<void> {
    await this.media.start(this.state.audioOnly);
  }

  // ---- Chat ----

  /** Sends a line; it shows at once and is marked when the server has it. False when there is nothing to send. */
  sendChat(text: string): boolean {
    const signalling = this.#signalling;
    if (!signalling || this.#isOver()) return false;
    const entry = this.#conversation.write(text, (line) => signalling.send('chat', line));
    if (entry) this.#set({ chat: [...this.state.chat, entry] });
    return entry !== undefined;
  }

  #refused(seq: number): void {
    const chat = this.#conversation.refused(this.state.chat, seq);
    if (chat) this.#set({ chat });
  }

  /** The chat is in view (or no longer): nothing in it is unread. */
  viewChat(open: boolean): void {
    this.#conversation.view(open);
    if (open) this.#set({ unread: 0 });
  }

  // ---- The end ----

  /** Leaves; the visit itself goes on and may be joined again. */
  leave(): void {
    if (this.#isOver()) return;
    this.#finish('left');
  }

  #finish(phase: OverPhase, error?: unknown, at?: string): void {
    if (this.#isOver()) return;
    // A figure that comes after the right to be there has nowhere to go.
    if (phase !== 'put-out') this.#meter.report();
    this.#set({ phase, error, endedAt: at ?? new Date().toISOString() });
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    for (const undo of this.#undo.splice(0)) undo();
    this.#signalling?.leave();
    this.#link?.close();
    this.#link = undefined;
    this.media.stop();
    this.#wake.release();
    this.#set({ localStream: null, remoteStream: null, sharing: false, cameraOn: false });
  }

  /** For tests: the connection itself. */
  get connection(): RTCPeerConnection | undefined {
    return this.#link?.connection;
  }

  #set(change: Partial<CallState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.#listeners) listener(this.state);
  }
}
