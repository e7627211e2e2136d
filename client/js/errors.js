/** The errors that powFetch and solve throw. */

/** The root of the errors that powFetch and solve throw. */
export class CalpowError extends Error {
  name = this.constructor.name;
  /** @type {Response | undefined} the last response of the server, if there is one */
  response;
}

/** The key cannot stand in a header. The message does not contain it. */
export class UnusableKey extends CalpowError {}

/** The body can be sent only once, and a request with a challenge is sent twice. Nothing was sent. */
export class BodyNotRewindable extends CalpowError {}

/** The challenge cannot be read, or asks for something absurd. No work was done. */
export class MalformedChallenge extends CalpowError {}

/** This version cannot solve puzzles of this algorithm. No work was done. */
export class UnknownAlgorithm extends CalpowError {}

/** The challenge has expired, or will expire before it is solved. */
export class ChallengeExpired extends CalpowError {}

/** The answer takes more digests than maxHashes. No work was done for the last challenge. */
export class WorkLimitExceeded extends CalpowError {}

/** The work takes more seconds than maxSeconds. */
export class SolvingTooLong extends CalpowError {}

/** Something between the page and the server drops the header PoW-Solution. */
export class HeadersDropped extends CalpowError {}
