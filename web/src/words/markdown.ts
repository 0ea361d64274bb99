/** Markdown of people and models as HTML that can do nothing: no scripts, no styles, nothing of other hosts. */
import DOMPurify from 'dompurify'
import { Marked, type RendererObject, type Token, type Tokens } from 'marked'
import { mentionsIn, type Names } from './mentions'

export interface Wording {
  names: Names
  me: string
  image(what: string): string
  foreign(where: string): string
  copy: string
}

const TAGS = [
  'a', 'b', 'blockquote', 'br', 'button', 'code', 'del', 'div', 'em', 'h3', 'h4', 'hr', 'i', 'li', 'ol',
  'p', 'pre', 's', 'span', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
] // prettier-ignore
const RULES = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ['align', 'class', 'href', 'rel', 'start', 'target', 'title', 'type'],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|tel:)/i,
  ADD_URI_SAFE_ATTR: ['align', 'rel', 'start', 'target', 'type'], // What is in them is no address.
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
}
const LONGEST_LANGUAGE = 24

// Most of what people write: one line without a sign that could mean something.
const PLAIN = /^(?!\s|[-+=]|\d+[.)])(?:(?!https?:|www\.)[^*_`[\]<>|~\\&@#\n\r])+$/i

/** Renders texts block by block: while one grows, only its last block is made anew. */
export class Markdown {
  private readonly marked: Marked
  private readonly kept = new Map<string, string>()

  constructor(wording: Wording, breaks: boolean) {
    this.marked = markedFor(wording, breaks)
  }

  /** Return a text that has ended as safe HTML. */
  whole(text: string): string {
    return PLAIN.test(text) ? `<p>${escaped(text)}</p>` : this.clean(this.marked.parse(text, { async: false }))
  }

  /** Return a text's blocks as safe HTML. */
  blocks(text: string): string[] {
    const tokens = this.marked.lexer(text)
    const made = new Map<string, string>()
    const blocks: string[] = []
    for (const token of tokens) {
      if (token.type === 'space') continue
      const html = this.kept.get(token.raw) ?? this.block(token)
      made.set(token.raw, html)
      blocks.push(html)
    }
    this.kept.clear()
    for (const [raw, html] of made) this.kept.set(raw, html)
    return blocks
  }

  private block(token: Token): string {
    if (token.type === 'paragraph' && PLAIN.test(token.raw)) return `<p>${escaped(token.raw)}</p>`
    return this.clean(this.marked.parser([token]))
  }

  private clean(html: string): string {
    return DOMPurify.sanitize(html, RULES)
  }
}

const made = new WeakMap<Wording, Map<boolean, Marked>>()

/** One parser serves all messages: to make one takes longer than to parse a message. */
function markedFor(wording: Wording, breaks: boolean): Marked {
  const known = made.get(wording) ?? new Map<boolean, Marked>()
  made.set(wording, known)
  const marked = known.get(breaks) ?? new Marked({ gfm: true, breaks, renderer: rendererOf(wording) })
  known.set(breaks, marked)
  return marked
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`)
}

function rendererOf(wording: Wording): RendererObject<string, string> {
  return {
    // What somebody wrote as HTML is shown as they wrote it.
    html: (token: Tokens.HTML | Tokens.Tag) => escaped(token.raw),
    image: ({ href, text }: Tokens.Image) => link(href, `🖼 ${escaped(wording.image(text || href))}`, wording),
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? '☑ ' : '☐ '),
    code: ({ text, lang }: Tokens.Code) => {
      const language = escaped((lang ?? '').split(/\s/)[0]!.slice(0, LONGEST_LANGUAGE))
      const copy = `<button type="button" class="copy-code" title="${escaped(wording.copy)}">${escaped(wording.copy)}</button>`
      return `<div class="code"><div class="code-head"><span>${language}</span>${copy}</div><pre><code>${escaped(text)}</code></pre></div>`
    },
    link({ href, tokens }: Tokens.Link) {
      return link(href, this.parser.parseInline(tokens), wording)
    },
    heading({ tokens, depth }: Tokens.Heading) {
      // The page has its own first headings, and what is written knows nothing of them.
      const level = depth <= 3 ? 3 : 4
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`
    },
    table(token: Tokens.Table) {
      const cell = (one: Tokens.TableCell, tag: string): string => {
        const align = one.align ? ` align="${one.align}"` : ''
        return `<${tag}${align}>${this.parser.parseInline(one.tokens)}</${tag}>`
      }
      const line = (cells: Tokens.TableCell[], tag: string): string =>
        `<tr>${cells.map((one) => cell(one, tag)).join('')}</tr>`
      const body = token.rows.map((row) => line(row, 'td')).join('')
      return `<div class="sheet"><table><thead>${line(token.header, 'th')}</thead><tbody>${body}</tbody></table></div>`
    },
    text(token: Tokens.Text | Tokens.Escape) {
      if ('tokens' in token && token.tokens) return this.parser.parseInline(token.tokens)
      if ('escaped' in token && token.escaped) return token.text
      return withMentions(token.text, wording)
    },
  }
}

function link(href: string, inner: string, wording: Wording): string {
  if (!/^(?:https?:|mailto:|tel:)/i.test(href)) return inner
  const title = escaped(wording.foreign(href))
  return `<a href="${escaped(href)}" target="_blank" rel="noopener noreferrer nofollow" title="${title}">${inner}</a>`
}

function withMentions(text: string, wording: Wording): string {
  let html = ''
  let from = 0
  for (const { kind, code, from: at, to } of mentionsIn(text, wording.names)) {
    if (code === null) continue
    const mine = kind === 'user' && code === wording.me ? ' mine' : ''
    html += `${escaped(text.slice(from, at))}<span class="mention ${kind}${mine}">${escaped(text.slice(at, to))}</span>`
    from = to
  }
  return html + escaped(text.slice(from))
}
