import { mount } from 'svelte'
import App from './App.svelte'
import { speak, usualLocale } from './i18n/index.svelte'
import { preferences, showTheme } from './settings.svelte'
import './styles/tokens.css'
import './styles/base.css'
import './styles/controls.css'
import './styles/prose.css'

showTheme(preferences.theme)
await speak(usualLocale())
mount(App, { target: document.getElementById('app')! })

if (import.meta.env.PROD && 'serviceWorker' in navigator) {
  // Without it everything works but the start without a network.
  navigator.serviceWorker.register(new URL('sw.js', document.baseURI)).catch(() => {})
}
