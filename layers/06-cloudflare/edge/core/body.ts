/** Bodies that the proxy itself reads. */

/** @returns undefined where it has more characters than `limit`; the rest of it isn't read. */
export async function bodyOf(request: Request, limit: number): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const part of request.body ?? []) {
    text += decoder.decode(part as Uint8Array, { stream: true });
    if (text.length > limit) return undefined;
  }
  return text;
}
