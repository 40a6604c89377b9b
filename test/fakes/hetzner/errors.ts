/** An error in the API's own form: https://docs.hetzner.cloud/reference/cloud#errors */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: unknown;

  constructor(status: number, code: string, message: string, details: unknown = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

export const notFound = (what: string) => new Refusal(404, 'not_found', `${what} not found`);
export const invalid = (message: string, details?: unknown) => new Refusal(422, 'invalid_input', message, details);
export const taken = (field: string) => new Refusal(409, 'uniqueness_error', `${field} is already used`);
