/** A text in one line, without the signs of Markdown. */
export function plain(text: string, longest: number): string {
  return text.slice(0, longest).replace(/[*#_`|>]+|-{3,}/g, '').replace(/\s+/g, ' ').trim()
}
