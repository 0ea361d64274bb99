/** A role's graph, read from its Mermaid text and laid out in rows, so that it can be drawn without a library. */
export interface GraphNode {
  id: string
  label: string
  isEnd: boolean
  x: number
  y: number
  width: number
}

export interface GraphEdge {
  path: string
  isMaybe: boolean
  label: string
  labelX: number
  labelY: number
  anchor: 'middle' | 'end' | 'start'
}

export interface Picture {
  nodes: GraphNode[]
  edges: GraphEdge[]
  width: number
  height: number
}

export const NODE_HEIGHT = 34
const ROW = 72
const GAP = 26
const MARGIN = 14
const LETTER = 7.4
/** Room at the sides for what leads back. */
const AROUND = 150

interface Link {
  from: string
  to: string
  isMaybe: boolean
  label: string
}

const NODE = /^\s*([\w.-]+)\s*(?:\(\[|\[\[|\(\(|\[|\(|\{)(.*?)(?:\]\)|\]\]|\)\)|\]|\)|\})\s*(?::::\w+)?\s*;?\s*$/
const EDGE = /^\s*([\w.-]+)\s+(-->|-\.->|-\.\s*(.*?)\s*\.->|--\s*(.*?)\s*-->)\s*(?:\|(.*?)\|\s*)?([\w.-]+)\s*;?\s*$/

export function parse(text: string): { labels: Map<string, string>; links: Link[] } {
  const labels = new Map<string, string>()
  const links: Link[] = []
  for (const line of text.split('\n')) {
    const edge = EDGE.exec(line)
    if (edge !== null) {
      const [, from = '', arrow = '', maybe = '', plain = '', after = '', to = ''] = edge
      const label = clean(maybe || plain || after)
      links.push({ from, to, isMaybe: arrow.startsWith('-.'), label })
      for (const id of [from, to]) if (!labels.has(id)) labels.set(id, id)
      continue
    }
    const node = NODE.exec(line)
    if (node !== null && !/^(graph|flowchart|classDef|class|subgraph|end|style)$/.test(node[1]!)) {
      labels.set(node[1]!, clean(node[2]!) || node[1]!)
    }
  }
  return { labels, links }
}

function clean(label: string): string {
  return label.replace(/<[^>]*>|&nbsp;|["']/g, '').replace(/^__|__$/g, '').trim()
}

/** Lay a graph out: each node a row below the farthest that leads to it; what leads back goes around. */
export function draw(text: string): Picture {
  const { labels, links } = parse(text)
  const rows = rowsOf([...labels.keys()], links)
  const nodes = new Map<string, GraphNode>()
  const widths = rows.map((row) => row.reduce((sum, id) => sum + widthOf(labels.get(id)!) + GAP, -GAP))
  const width = Math.max(0, ...widths) + 2 * MARGIN + 2 * AROUND
  rows.forEach((row, line) => {
    let x = (width - widths[line]!) / 2
    for (const id of row) {
      const label = labels.get(id)!
      const own = widthOf(label)
      nodes.set(id, { id, label, isEnd: /^__.*__$/.test(id), x, y: MARGIN + line * ROW, width: own })
      x += own + GAP
    }
  })
  const edges = links.map((link) => edgeOf(link, nodes, width))
  return { nodes: [...nodes.values()], edges, width, height: 2 * MARGIN + (rows.length - 1) * ROW + NODE_HEIGHT }
}

function widthOf(label: string): number {
  return Math.max(64, label.length * LETTER + 28)
}

function rowsOf(ids: string[], links: Link[]): string[][] {
  const depth = new Map<string, number>()
  const onPath = new Set<string>()
  const visit = (id: string, at: number): void => {
    if (onPath.has(id)) return // A way back.
    if ((depth.get(id) ?? -1) >= at) return
    depth.set(id, at)
    onPath.add(id)
    for (const link of links) if (link.from === id) visit(link.to, at + 1)
    onPath.delete(id)
  }
  const reached = new Set(links.map((link) => link.to))
  for (const id of ids) if (!reached.has(id)) visit(id, 0)
  for (const id of ids) if (!depth.has(id)) visit(id, 0)
  const deepest = Math.max(0, ...depth.values())
  if (depth.has('__end__')) {
    const isShared = ids.some((id) => id !== '__end__' && depth.get(id) === deepest)
    depth.set('__end__', deepest + (isShared ? 1 : 0))
  }
  const rows: string[][] = Array.from({ length: deepest + 2 }, () => [])
  for (const id of ids) rows[depth.get(id)!]!.push(id)
  return rows.filter((row) => row.length > 0)
}

function edgeOf({ from, to, isMaybe, label }: Link, nodes: Map<string, GraphNode>, width: number): GraphEdge {
  const [a, b] = [nodes.get(from)!, nodes.get(to)!]
  const [ax, bx] = [a.x + a.width / 2, b.x + b.width / 2]
  if (b.y > a.y) {
    const [start, end] = [a.y + NODE_HEIGHT, b.y - 5]
    const bend = (end - start) / 2
    const isFar = b.y - a.y > ROW && Math.abs(ax - bx) < 1
    // A long straight line would run through what lies between.
    const aside = isFar ? -Math.min(width / 2 - MARGIN, 90) : 0
    const path = `M${ax} ${start}C${ax + aside} ${start + bend} ${bx + aside} ${end - bend} ${bx} ${end}`
    const labelX = (ax + bx) / 2 + (isFar ? aside * 0.75 - 4 : 0)
    return { path, isMaybe, label, labelX, labelY: (start + end) / 2 + (isFar ? 0 : 3), anchor: isFar ? 'end' : 'middle' }
  }
  const [ay, by] = [a.y + NODE_HEIGHT / 2, b.y + NODE_HEIGHT / 2]
  const [sx, ex] = [a.x + a.width, b.x + b.width + 5]
  if (from === to) {
    const path = `M${sx} ${ay - 8}C${sx + 44} ${ay - 26} ${sx + 44} ${ay + 26} ${ex} ${ay + 8}`
    return { path, isMaybe, label, labelX: sx + 42, labelY: ay, anchor: 'start' }
  }
  const out = Math.min(width - 4, Math.max(sx, ex) + 34)
  const path = `M${sx} ${ay}C${out} ${ay} ${out} ${by} ${ex} ${by}`
  return { path, isMaybe, label, labelX: out, labelY: (ay + by) / 2, anchor: 'start' }
}
