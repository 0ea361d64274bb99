import { svelte } from '@sveltejs/vite-plugin-svelte'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const engine = process.env.RUGPT_ENGINE ?? 'http://127.0.0.1:8100'

export default defineConfig({
  plugins: [svelte()],
  base: './', // The same bundle works at / and under a prefix.
  resolve: {
    alias: { $: fileURLToPath(new URL('./src', import.meta.url)) },
    // Tests run the browser's half of Svelte.
    ...(process.env.VITEST ? { conditions: ['browser'] } : {}),
  },
  build: {
    target: ['chrome123', 'firefox121', 'safari17.5'],
    assetsInlineLimit: 0, // The Content-Security-Policy knows no data: scripts or styles.
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: { proxy: { '/api': engine } },
})
