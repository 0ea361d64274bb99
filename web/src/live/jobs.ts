/** What is being asked of the engine right now, so that one can wait for it and hear of its failure. */
export class Jobs {
  private readonly all = new Set<Promise<void>>()
  private listener: ((error: unknown) => void) | null = null

  run(work: () => Promise<void>): void {
    const job: Promise<void> = work()
      .catch((error: unknown) => this.listener?.(error))
      .finally(() => this.all.delete(job))
    this.all.add(job)
  }

  onFailure(listener: (error: unknown) => void): void {
    this.listener = listener
  }

  async settled(): Promise<void> {
    while (this.all.size > 0) await Promise.all(this.all)
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
