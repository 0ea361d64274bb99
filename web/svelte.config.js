/** TypeScript needs no preprocessing: only types are used. */
export default { compilerOptions: { runes: true } }
