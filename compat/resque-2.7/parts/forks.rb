# Workers as most people run them: a process forked for each job.
class Forks < Part
  title "forks: a process for each job, small and large"

  JOBS = 300
  # From a byte to more than a server keeps in a page or a buffer.
  TEXT_BYTES = [1, 100, 5_000, 70_000, 1_500_000].freeze

  def exercise
    workers = [worker("first", queues: "forked"), worker("second", queues: "forked,large")]
    known = registered(*workers)
    JOBS.times { |id| Resque.enqueue_to("forked", Count, "forks", id) }
    texts = TEXT_BYTES.to_h { |bytes| [bytes, "é\u0000\"\\\n#{"x" * bytes}"] }
    texts.each { |bytes, text| Resque.enqueue_to("large", Digested, "large", bytes, text) }
    await_processed(JOBS + texts.size)
    finished_exactly("forks", (0...JOBS).to_a)
    finished_exactly("large", texts.map { |bytes, text| "#{bytes}:#{Digest::SHA256.hexdigest(text)}" })
    equal("processes that ran the jobs", Ledger.finished("forks").map(&:pid).uniq.size, JOBS)
    equal("the workers' own counts, in all", known.sum(&:processed), JOBS + texts.size)
    retire(*workers)
  end
end
