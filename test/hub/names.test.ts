import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkedSlug, slugOf } from '../../src/catalog/import/slug.js'
import { parseSource } from '../../src/catalog/import/source.js'

describe('what is imported', () => {
  test.each([
    ['openai/clip-vit-base-patch32', 'openai/clip-vit-base-patch32', 'main'],
    ['laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K@v1.0', 'laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K', 'v1.0'],
    ['open-clip:timm/vit_base_patch16_clip_224.openai', 'timm/vit_base_patch16_clip_224.openai', 'main'],
    ['hf-hub:org/name@refs/pr/7', 'org/name', 'refs/pr/7'],
    ['https://hub.example/org/name', 'org/name', 'main'],
    ['https://hub.example/org/name/tree/refs%2Fpr%2F7', 'org/name', 'refs/pr/7'],
  ])('%s is a repository', async (source, repo, requestedRevision) => {
    expect(await parseSource(source)).toEqual({ kind: 'hub', repo, requestedRevision })
  })

  test('a folder that exists is a folder, also when it looks like a repository', async () => {
    expect(await parseSource('test/hub')).toEqual({ kind: 'folder', folder: path.resolve('test/hub') })
  })

  test.each([
    '',
    '../..nothing',
    'a/b/c',
    'org/name@',
    'org/name@../../etc',

    'org/na me',
    '/no/such/folder',
    'package.json',
    'org/name@a\nb',
  ])('%j is neither', async (source) => {
    await expect(parseSource(source)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })

  test('a folder has no revision', async () => {
    await expect(parseSource('test/hub', 'main')).rejects.toThrow(/no revision/)
  })
})

describe("a model's id", () => {
  const hub = (repo: string) => slugOf({ kind: 'hub', repo, requestedRevision: 'main' })

  test.each([
    ['laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K', 'clip-vit-b-32-datacomp-xl'],
    ['laion/CLIP-ViT-L-14-laion2B-s32B-b82K', 'clip-vit-l-14-laion2b'],
    ['laion/CLIP-ViT-B-16-CommonPool.L.basic-s1B-b8K', 'clip-vit-b-16-commonpool-l-basic'],
    ['openai/clip-vit-base-patch32', 'clip-vit-base-patch32'],
    ['facebook/dino-vitb16', 'dino-vitb16'],
    ['timm/vit_base_patch16_224.augreg2_in21k_ft_in1k', 'vit-base-patch16-224-augreg2-in21k-ft-in1k'],
    ['wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M', 'tinyclip-vit-8m-16-text-3m-yfcc15m'],
  ])('of %s is %s', (repo, slug) => {
    expect(hub(repo)).toBe(slug)
  })

  test('of a folder is its name', () => {
    expect(slugOf({ kind: 'folder', folder: '/somewhere/My Émoji_ViT (2)' })).toBe('my-e-moji-vit-2')
  })

  test.each(['', 'A', 'a.b', 'a--b', '-a', 'a-', 'a/b', 'a b', 'x'.repeat(101)])('cannot be %j', (id) => {
    expect(() => checkedSlug(id)).toThrow(/--id/)
  })
})
