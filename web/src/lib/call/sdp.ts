// Small changes to session descriptions that no API offers. Pure.

import type { AudioRung } from './ladder';

/** Splits a description into its session part and one part per medium, line ends kept. */
function sections(sdp: string): string[] {
  return sdp.split(/^(?=m=)/m);
}

/**
 * The peer's description as our own encoder should read it: how long our audio packets are, what their bitrate is, and
 * whether they carry redundancy. Only what we send changes; the peer never sees this.
 */
export function tuneAudio(sdp: string, audio: AudioRung): string {
  return sections(sdp)
    .map((section) => (section.startsWith('m=audio') ? tuneSection(section, audio) : section))
    .join('');
}

function tuneSection(section: string, audio: AudioRung): string {
  const opus = /^a=rtpmap:(\d+) opus\/48000/im.exec(section)?.[1];
  if (!opus) return section;
  const red = /^a=rtpmap:(\d+) red\/48000/im.exec(section)?.[1];
  const thin = audio.ptime > 20;
  const settings: Record<string, string> = {
    minptime: '10',
    useinbandfec: '1',
    maxaveragebitrate: String(audio.bitrate),
    usedtx: thin ? '1' : '0',
    // Narrower sound spends the few bits where speech is.
    maxplaybackrate: audio.bitrate <= 12_000 ? '16000' : '48000'
  };
  let text = section
    .replace(/^a=(max)?ptime:.*\r?\n/gim, '')
    .replace(new RegExp(`^a=fmtp:${opus} (.*)$`, 'im'), (_, given: string) => {
      const kept = given.split(';').map((one) => one.trim()).filter((one) => one && !(one.split('=')[0]! in settings));
      return `a=fmtp:${opus} ${[...kept, ...Object.entries(settings).map(([key, value]) => `${key}=${value}`)].join(';')}`;
    });
  text = text.replace(/^m=audio (\S+) (\S+) (.*)$/im, (_, port: string, protocol: string, list: string) => {
    const given = list.trim().split(' ');
    const first = audio.red && red && given.includes(red) ? [red, opus] : [opus];
    return `m=audio ${port} ${protocol} ${[...first, ...given.filter((one) => !first.includes(one))].join(' ')}`;
  });
  const end = text.endsWith('\r\n') || text.endsWith('\n') ? '' : '\r\n';
  return `${text}${end}a=ptime:${audio.ptime}\r\na=maxptime:${Math.max(audio.ptime, 60)}\r\n`;
}

/** Identifies the connection a description belongs to; another value means another connection. */
export function fingerprint(sdp: string): string {
  return /^a=fingerprint:(.*)$/im.exec(sdp)?.[1]?.trim() ?? '';
}

/** Codecs worth their place in a description: every one costs bytes on the thinnest link. */
export function useful<T extends { mimeType: string; sdpFmtpLine?: string }>(kind: 'audio' | 'video', codecs: readonly T[]): T[] {
  const rank = (codec: T): number => {
    const name = codec.mimeType.toLowerCase();
    if (kind === 'audio') return ['audio/opus', 'audio/red'].indexOf(name);
    // VP8 first: light, everywhere, and good at 90 lines. One H.264 for devices that have only that in hardware.
    if (name === 'video/h264' && !/42e01f/i.test(codec.sdpFmtpLine ?? '')) return -1;
    if (name === 'video/h264' && !/packetization-mode=1/.test(codec.sdpFmtpLine ?? '')) return -1;
    return ['video/vp8', 'video/h264', 'video/rtx'].indexOf(name);
  };
  return codecs.filter((codec) => rank(codec) >= 0).sort((a, b) => rank(a) - rank(b));
}
