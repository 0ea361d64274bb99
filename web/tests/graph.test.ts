import { expect, test } from 'vitest'
import { draw, parse } from '$/words/graph'

const SIMPLE = `graph TD;
	__start__([<p>__start__</p>]):::first
	think(think)
	act(act)
	__end__([<p>__end__</p>]):::last
	__start__ --> think;
	act --> think;
	think -. &nbsp;has answered&nbsp; .-> __end__;
	think -. &nbsp;wants tools&nbsp; .-> act;
	classDef default fill:#f2f0ff,line-height:1.2
`

test('a graph is read with its names and what each way means', () => {
  const { labels, links } = parse(SIMPLE)

  expect(Object.fromEntries(labels)).toEqual({ __start__: 'start', think: 'think', act: 'act', __end__: 'end' })
  expect(links).toContainEqual({ from: 'think', to: '__end__', isMaybe: true, label: 'has answered' })
  expect(links).toContainEqual({ from: 'act', to: 'think', isMaybe: false, label: '' })
})

test('a drawing begins at the start, ends at the end, and nothing lies on anything else', () => {
  const { nodes, edges, width } = draw(SIMPLE)
  const y = Object.fromEntries(nodes.map((node) => [node.id, node.y]))

  expect(Math.min(...nodes.map((node) => node.y))).toBe(y.__start__)
  expect(Math.max(...nodes.map((node) => node.y))).toBe(y.__end__)
  expect(new Set(nodes.map((node) => `${node.x} ${node.y}`)).size).toBe(4)
  expect(edges).toHaveLength(4)
  expect(nodes.every((node) => node.x >= 0 && node.x + node.width <= width)).toBe(true)
})
